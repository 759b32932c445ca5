//go:build go1.23

package puna

import (
	"context"
	"strings"
	"testing"
)

func TestRangeOverPieces(t *testing.T) {
	session := open(t, tiny, 0)
	defer session.Close()
	var text strings.Builder
	for piece, err := range session.GenerateWith(context.Background(), "Once upon a time", Options{MaxTokens: 20}) {
		if err != nil {
			t.Fatal(err)
		}
		text.WriteString(piece)
	}
	if text.Len() == 0 {
		t.Fatal("no text")
	}
	for _, err := range session.Generate(context.Background(), strings.Repeat("word ", 5000)) {
		if e, ok := err.(*Error); !ok || e.Code != ErrContextFull {
			t.Fatalf("a prompt too long gave %v", err)
		}
	}
}
