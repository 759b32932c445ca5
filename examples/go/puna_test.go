package puna

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
)

const tiny = "../../tests/fixtures/tiny/model.gguf"

func open(t *testing.T, path string, context int) *Session {
	t.Helper()
	model, err := Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer model.Close() // the session keeps what it needs
	session, err := model.NewSession(context)
	if err != nil {
		t.Fatal(err)
	}
	return session
}

func collect(t *testing.T, s *Session, prompt string, o Options) (string, Summary) {
	t.Helper()
	g, err := s.Start(context.Background(), prompt, o)
	if err != nil {
		t.Fatal(err)
	}
	defer g.Close()
	var text strings.Builder
	for g.Next() {
		text.WriteString(g.Text())
	}
	if g.Err() != nil {
		t.Fatal(g.Err())
	}
	summary, err := g.Summary()
	if err != nil {
		t.Fatal(err)
	}
	return text.String(), summary
}

// Real data lies beside the checkout, or where PUNA_SHARED_DATA says.
func shared(t *testing.T, name string) string {
	dir := os.Getenv("PUNA_SHARED_DATA")
	if dir == "" {
		dir = "../../../shared/data"
	}
	path := filepath.Join(dir, name)
	if _, err := os.Stat(path); err != nil {
		t.Skip("no shared data")
	}
	return path
}

func TestStories260KTellsRunCsStory(t *testing.T) {
	dir := shared(t, "models/stories260K")
	session := open(t, filepath.Join(dir, "stories260K.gguf"), 0)
	defer session.Close()
	text, summary := collect(t, session, "Once upon a time", Options{MaxTokens: 196})
	expected, err := os.ReadFile(filepath.Join(dir, "expected.txt"))
	if err != nil {
		t.Fatal(err)
	}
	if got := "Once upon a time" + text; strings.TrimSpace(got) != strings.TrimSpace(string(expected)) {
		t.Fatalf("got %q", got)
	}
	if summary.Stop != "length" || summary.Tokens != 196 || summary.PromptTokens != 5 {
		t.Fatalf("summary %+v", summary)
	}
}

func TestStopStringAndTruncate(t *testing.T) {
	session := open(t, tiny, 0)
	defer session.Close()
	whole, _ := collect(t, session, "Once upon a time", Options{MaxTokens: 40})
	if err := session.Truncate(0); err != nil {
		t.Fatal(err)
	}
	stop := whole[len(whole)/2 : len(whole)/2+4]
	cut, summary := collect(t, session, "Once upon a time", Options{MaxTokens: 40, Stop: []string{stop}})
	if summary.Stop != "string" || strings.Contains(cut, stop) || !strings.HasPrefix(whole, cut) {
		t.Fatalf("stop %q: %q, %+v", stop, cut, summary)
	}
}

func TestGoroutinesShareOneModel(t *testing.T) {
	model, err := Open(tiny)
	if err != nil {
		t.Fatal(err)
	}
	defer model.Close()
	story := func(seed uint64) string {
		session, err := model.NewSession(128)
		if err != nil {
			t.Error(err)
			return ""
		}
		defer session.Close()
		text, _ := collect(t, session, "Once", Options{MaxTokens: 30, Temperature: 0.8, TopP: 0.9, Seed: seed, IgnoreEOS: true})
		return text
	}
	var alone, together [4]string
	for i := range alone {
		alone[i] = story(uint64(i))
	}
	var wait sync.WaitGroup
	for i := range together {
		wait.Add(1)
		go func(i int) {
			defer wait.Done()
			together[i] = story(uint64(i))
		}(i)
	}
	wait.Wait()
	if alone != together {
		t.Fatalf("%q\n%q", alone, together)
	}
}

func TestContextCancels(t *testing.T) {
	session := open(t, tiny, 0)
	defer session.Close()
	ctx, cancel := context.WithCancel(context.Background())
	g, err := session.Start(ctx, "Once upon a time", Options{IgnoreEOS: true})
	if err != nil {
		t.Fatal(err)
	}
	if !g.Next() {
		t.Fatal(g.Err())
	}
	cancel()
	for g.Next() {
	}
	if !errors.Is(g.Err(), context.Canceled) {
		t.Fatal(g.Err())
	}
	g.Close()
	if n, err := session.Len(); err != nil || n == 0 {
		t.Fatal(n, err)
	}
}

func TestErrorsNameTheFile(t *testing.T) {
	_, err := Open("no/such/model.gguf")
	var e *Error
	if !errors.As(err, &e) || e.Code != ErrIO || !strings.Contains(e.Text, "no/such/model.gguf") {
		t.Fatal(err)
	}
}
