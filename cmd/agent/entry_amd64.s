#include "textflag.h"

#define SYS_write $1
#define SYS_clone $56
#define SYS_exit $60
#define SYS_wait4 $61
#define CLONE_VM_VFORK $0x4100
#define WALL $0x40000000

// EXTRA threads are made by the runtime before main, beside the first. Seen on one
// processor were 2 to 3.
#define EXTRA $4

// REFUSED is how wait4 shows exit code 1, which says that a task was refused.
#define REFUSED $0x100
GLOBL status<>(SB), NOPTR, $4

// nodevitals_entry is where the kernel starts the program; see entry.go.
//
// It makes a task, which makes a task, and so on: then all of them are there at one
// time, as the threads will be. Each uses the memory and the stack of its maker,
// which stands still until it has ended (vfork): so none may write to the stack.
// R12 is how many more to make, R13 not 0 in a task that was made, R14 what wait4
// says of the one that it made itself.
TEXT nodevitals_entry(SB), NOSPLIT|NOFRAME|TOPFRAME, $0
	MOVL EXTRA, R12
	XORL R13, R13
	XORL R14, R14

make:
	TESTL R12, R12
	JEQ   made
	MOVL  SYS_clone, AX
	MOVL  CLONE_VM_VFORK, DI // without a signal at its end
	XORL  SI, SI
	XORL  DX, DX
	XORL  R10, R10
	XORL  R8, R8
	SYSCALL
	CMPQ  AX, $-11           // EAGAIN
	JEQ   refuse
	CMPQ  AX, $0
	JLT   made               // it may not be tried here, which tells nothing
	JEQ   child
	MOVL  AX, DI
	LEAQ  status<>(SB), SI
	MOVL  WALL, DX
	XORL  R10, R10
	MOVL  SYS_wait4, AX
	SYSCALL
	MOVL  status<>(SB), R14
	JMP   made

child:
	DECL R12
	MOVL $1, R13
	JMP  make

refuse:
	MOVL REFUSED, R14

made:
	MOVL  R14, DI
	SHRL  $8, DI
	TESTL R13, R13
	JNE   exit
	CMPL  R14, REFUSED
	JEQ   say

	// The stack holds argc, the arguments, 0, the environment, 0, and more. All up to
	// the second 0 moves down by two words, into which goes what is added. (Two, since
	// the stack pointer is a multiple of 16.)
	MOVQ SP, SI
	MOVQ (SI), AX
	MOVQ AX, -16(SI)
	MOVL $2, CX

move:
	ADDQ  $8, SI
	MOVQ  (SI), AX
	MOVQ  AX, -16(SI)
	TESTQ AX, AX
	JNE   move
	DECL  CX
	JNE   move
	MOVQ  ·startVariable(SB), AX
	MOVQ  AX, -16(SI)
	MOVQ  AX, -8(SI)
	SUBQ  $16, SP
	JMP   _rt0_amd64_linux(SB)

say:
	MOVL $2, DI
	MOVQ ·noRoom+0(SB), SI
	MOVQ ·noRoom+8(SB), DX
	MOVL SYS_write, AX
	SYSCALL

	// As exitNoRoom: 3 if --once is among the arguments, else 1. Eight bytes can be
	// read at each: behind the last of them is the environment, or the program's name.
	MOVL $1, DI
	LEAQ 8(SP), SI
	MOVQ $0x0065636e6f2d2d00, BX // "--once" and its end, behind a byte that is shifted in

argument:
	ADDQ  $8, SI
	MOVQ  (SI), AX
	TESTQ AX, AX
	JEQ   exit
	MOVQ  (AX), AX
	SHLQ  $8, AX
	CMPQ  AX, BX
	JNE   argument
	MOVL  $3, DI

exit:
	MOVL SYS_exit, AX
	SYSCALL
