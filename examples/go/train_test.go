package puna

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestTrainAndUseAnAdapter(t *testing.T) {
	model, err := Open(tiny)
	if err != nil {
		t.Fatal(err)
	}
	defer model.Close()
	dir := t.TempDir()
	var rows strings.Builder
	for _, name := range []string{"Mia", "Tom", "Ben", "Lily"} {
		for _, thing := range []string{"boat", "kite", "drum", "cake"} {
			rows.WriteString(`{"text":"` + name + " made a " + thing + ". The " + thing + ` was very big."}` + "\n")
		}
	}
	data := filepath.Join(dir, "rows.jsonl")
	if err := os.WriteFile(data, []byte(rows.String()), 0o600); err != nil {
		t.Fatal(err)
	}
	trainer, err := model.NewTrainer(TrainOptions{LearningRate: 5e-3, Epochs: 6, Batch: 2, Length: 64, HeldOut: 250})
	if err != nil {
		t.Fatal(err)
	}
	defer trainer.Close()
	if err := trainer.AddFile(data); err != nil {
		t.Fatal(err)
	}
	if err := trainer.Run(); err != nil {
		t.Fatal(err)
	}
	before, after, err := trainer.HeldOut()
	if err != nil || !(after < before) {
		t.Fatalf("held-out loss %v, was %v: %v", after, before, err)
	}
	path := filepath.Join(dir, "adapter.gguf")
	if err := trainer.Save(path); err != nil {
		t.Fatal(err)
	}

	adapter, err := model.OpenAdapter(path)
	if err != nil {
		t.Fatal(err)
	}
	session, err := model.NewSession(0)
	if err != nil {
		t.Fatal(err)
	}
	defer session.Close()
	said := func(uses ...Use) string {
		if err := session.Truncate(0); err != nil {
			t.Fatal(err)
		}
		if err := session.UseAdapters(uses...); err != nil {
			t.Fatal(err)
		}
		text, _ := collect(t, session, "Tom made a", Options{MaxTokens: 12})
		return text
	}
	plain := said()
	if with := said(Use{adapter, 1}); with == plain {
		t.Error("the adapter changes nothing")
	}
	if with := said(Use{adapter, 0.5}, Use{adapter, -0.5}); with != plain {
		t.Errorf("half and minus half say %q, the model %q", with, plain)
	}
	adapter.Close()
	if with := said(); with != plain {
		t.Error("without it the model is not what it was")
	}
}
