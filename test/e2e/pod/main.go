// Command pod is the program of the pods in the tests. Without arguments it waits
// until it is told to end; "fork" has it start children until the kernel refuses, and
// try again every second; "fill FILE" has it write a file until the kernel refuses.
package main

import (
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"syscall"
	"time"
)

func main() {
	told := make(chan os.Signal, 1)
	signal.Notify(told, syscall.SIGTERM, syscall.SIGINT)
	if len(os.Args) > 1 && os.Args[1] == "fork" {
		go fork()
	}
	if len(os.Args) > 2 && os.Args[1] == "fill" {
		go fill(os.Args[2])
	}
	<-told
}

// fork fills the pod's limit on tasks. The children end with the pod.
func fork() {
	for {
		child := exec.Command("/proc/self/exe")
		if err := child.Start(); err != nil {
			fmt.Println(err)
			time.Sleep(time.Second)
		}
	}
}

// fill writes until nothing more can be written.
func fill(file string) {
	f, err := os.Create(file)
	for zeros := make([]byte, 4096); err == nil; {
		_, err = f.Write(zeros)
	}
	fmt.Println(err)
}
