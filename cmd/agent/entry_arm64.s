#include "textflag.h"

#define SYS_write $64
#define SYS_exit $93
#define SYS_clone $220
#define SYS_wait4 $260
#define CLONE_VM_VFORK $0x4100
#define WALL $0x40000000

// EXTRA threads are made by the runtime before main, beside the first. Seen on one
// processor were 2 to 3.
#define EXTRA $4

// REFUSED is how wait4 shows exit code 1, which says that a task was refused.
#define REFUSED $0x100
GLOBL status<>(SB), NOPTR, $4

// nodevitals_entry is what it is in entry_amd64.s. R19 is how many more tasks to make,
// R20 not 0 in a task that was made, R21 what wait4 says of the one that it made.
TEXT nodevitals_entry(SB), NOSPLIT|NOFRAME|TOPFRAME, $0
	MOVD EXTRA, R19
	MOVD ZR, R20
	MOVD ZR, R21

make:
	CBZ  R19, made
	MOVD CLONE_VM_VFORK, R0
	MOVD ZR, R1
	MOVD ZR, R2
	MOVD ZR, R3
	MOVD ZR, R4
	MOVD SYS_clone, R8
	SVC
	CMN  $11, R0 // EAGAIN
	BEQ  refuse
	CMP  $0, R0
	BLT  made
	BEQ  child
	MOVD $status<>(SB), R1
	MOVD WALL, R2
	MOVD ZR, R3
	MOVD SYS_wait4, R8
	SVC
	MOVW status<>(SB), R21
	B    made

child:
	SUB  $1, R19
	MOVD $1, R20
	B    make

refuse:
	MOVD REFUSED, R21

made:
	LSR  $8, R21, R0
	CBNZ R20, exit
	CMP  REFUSED, R21
	BEQ  say

	MOVD RSP, R1
	MOVD (R1), R2
	MOVD R2, -16(R1)
	MOVD $2, R3

move:
	ADD  $8, R1
	MOVD (R1), R2
	MOVD R2, -16(R1)
	CBNZ R2, move
	SUB  $1, R3
	CBNZ R3, move
	MOVD ·startVariable(SB), R2
	MOVD R2, -16(R1)
	MOVD R2, -8(R1)
	SUB  $16, RSP
	B    _rt0_arm64_linux(SB)

say:
	MOVD $2, R0
	MOVD ·noRoom+0(SB), R1
	MOVD ·noRoom+8(SB), R2
	MOVD SYS_write, R8
	SVC

	MOVD $1, R0
	ADD  $8, RSP, R1
	MOVD $0x0065636e6f2d2d00, R2 // "--once"

argument:
	ADD  $8, R1
	MOVD (R1), R3
	CBZ  R3, exit
	MOVD (R3), R3
	LSL  $8, R3
	CMP  R2, R3
	BNE  argument
	MOVD $3, R0

exit:
	MOVD SYS_exit, R8
	SVC
