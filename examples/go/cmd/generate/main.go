// Command generate: go run ./cmd/generate MODEL PROMPT
package main

import (
	"context"
	"fmt"
	"os"

	"puna.example/puna"
)

func run() error {
	if len(os.Args) != 3 {
		return fmt.Errorf("usage: generate MODEL PROMPT")
	}
	model, err := puna.Open(os.Args[1])
	if err != nil {
		return err
	}
	defer model.Close()
	session, err := model.NewSession(0)
	if err != nil {
		return err
	}
	defer session.Close()
	generation, err := session.Start(context.Background(), os.Args[2], puna.Options{})
	if err != nil {
		return err
	}
	defer generation.Close()
	for generation.Next() {
		fmt.Print(generation.Text())
	}
	fmt.Println()
	return generation.Err()
}

func main() {
	if err := run(); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}
