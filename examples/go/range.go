//go:build go1.23

package puna

import (
	"context"
	"iter"
)

// Generate yields the text greedily, piece by piece: for piece, err := range session.Generate(ctx, prompt).
func (s *Session) Generate(ctx context.Context, prompt string) iter.Seq2[string, error] {
	return s.GenerateWith(ctx, prompt, Options{})
}

// GenerateWith is Generate with options.
func (s *Session) GenerateWith(ctx context.Context, prompt string, o Options) iter.Seq2[string, error] {
	return func(yield func(string, error) bool) {
		g, err := s.Start(ctx, prompt, o)
		if err != nil {
			yield("", err)
			return
		}
		defer g.Close()
		for g.Next() {
			if !yield(g.Text(), nil) {
				return
			}
		}
		if err := g.Err(); err != nil {
			yield("", err)
		}
	}
}
