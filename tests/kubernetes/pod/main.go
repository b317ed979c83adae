// What a pod of the harness's own tests does, as its arguments say, in order; without arguments it waits to be stopped,
// which makes it the image of pod sandboxes as well.
//
//	write FILE TEXT   writes a file
//	read FILE         prints a file
//	say TEXT          writes the termination message
//	wait              waits for SIGTERM
//	exit CODE         ends
package main

import (
	"fmt"
	"os"
	"os/signal"
	"strconv"
	"syscall"
)

func main() {
	arguments := os.Args[1:]
	if len(arguments) == 0 {
		wait()
		return
	}
	next := func() string {
		if len(arguments) == 0 {
			fail(fmt.Errorf("an argument is missing"))
		}
		first := arguments[0]
		arguments = arguments[1:]
		return first
	}
	for len(arguments) > 0 {
		switch verb := next(); verb {
		case "write":
			file := next()
			fail(os.WriteFile(file, []byte(next()), 0o666))
		case "read":
			content, err := os.ReadFile(next())
			fail(err)
			fmt.Print(string(content))
		case "say":
			fail(os.WriteFile("/dev/termination-log", []byte(next()), 0o666))
		case "wait":
			wait()
		case "exit":
			code, err := strconv.Atoi(next())
			fail(err)
			os.Exit(code)
		default:
			fail(fmt.Errorf("%q is none of write, read, say, wait, exit", verb))
		}
	}
}

func wait() {
	stop := make(chan os.Signal, 1)
	signal.Notify(stop, syscall.SIGTERM, syscall.SIGINT)
	<-stop
}

func fail(err error) {
	if err != nil {
		fmt.Fprintln(os.Stderr, "pod:", err)
		os.Exit(2)
	}
}
