package puna

/*
#include <stdlib.h>
#include <puna.h>
*/
import "C"

import (
	"runtime"
	"unsafe"
)

// Adapter is a LoRA beside a model.
type Adapter struct{ raw *C.puna_adapter }

// OpenAdapter reads a PEFT folder or a GGUF adapter.
func (m *Model) OpenAdapter(path string) (*Adapter, error) {
	cpath := C.CString(path)
	defer C.free(unsafe.Pointer(cpath))
	a := &Adapter{}
	err := call(func(e *C.puna_error) C.int32_t { return C.puna_adapter_open(&a.raw, m.raw, cpath, e) })
	runtime.KeepAlive(m)
	if err != nil {
		return nil, err
	}
	runtime.SetFinalizer(a, (*Adapter).Close)
	return a, nil
}

// Close frees the adapter; sessions that use it keep it.
func (a *Adapter) Close() {
	C.puna_adapter_destroy(a.raw)
	a.raw = nil
	runtime.SetFinalizer(a, nil)
}

// Use is an adapter with its scale.
type Use struct {
	Adapter *Adapter
	Scale   float32
}

// UseAdapters sets what later tokens add to the model; nothing: the model alone.
func (s *Session) UseAdapters(uses ...Use) error {
	if len(uses) == 0 {
		return call(func(e *C.puna_error) C.int32_t { return C.puna_session_set_adapters(s.raw, nil, nil, 0, e) })
	}
	n := C.size_t(len(uses))
	handles := (*[1 << 20]*C.puna_adapter)(C.malloc(n * C.size_t(unsafe.Sizeof(uintptr(0)))))[:len(uses):len(uses)]
	defer C.free(unsafe.Pointer(&handles[0]))
	scales := make([]C.float, len(uses))
	for i, u := range uses {
		handles[i], scales[i] = u.Adapter.raw, C.float(u.Scale)
	}
	err := call(func(e *C.puna_error) C.int32_t {
		return C.puna_session_set_adapters(s.raw, &handles[0], &scales[0], n, e)
	})
	runtime.KeepAlive(s)
	runtime.KeepAlive(uses)
	return err
}

// TrainOptions of a run; zero values are the library's defaults.
type TrainOptions struct {
	Full         bool // the whole model; else an adapter
	Rank         int
	LearningRate float64
	Epochs       int
	Steps        int
	Batch        int
	Length       int
	HeldOut      int // of 1000 rows, the last ones: measured, not learnt
	Checkpoint   string
	Seed         uint64
}

// Trainer is a run of training.
type Trainer struct{ raw *C.puna_trainer }

// NewTrainer makes a run; give it rows, then Run it.
func (m *Model) NewTrainer(o TrainOptions) (*Trainer, error) {
	var options C.puna_train_options
	C.puna_train_options_init(&options, C.size_t(unsafe.Sizeof(options)))
	if o.Full {
		options.method = 1
	}
	set := func(field *C.uint32_t, value int) {
		if value != 0 {
			*field = C.uint32_t(value)
		}
	}
	set(&options.rank, o.Rank)
	set(&options.epochs, o.Epochs)
	set(&options.steps, o.Steps)
	set(&options.batch, o.Batch)
	set(&options.length, o.Length)
	set(&options.held_out_permille, o.HeldOut)
	options.learning_rate = C.double(o.LearningRate)
	options.seed = C.uint64_t(o.Seed)
	if o.Checkpoint != "" {
		options.checkpoint = C.CString(o.Checkpoint)
		defer C.free(unsafe.Pointer(options.checkpoint))
		options.checkpoint_every = 50
	}
	t := &Trainer{}
	err := call(func(e *C.puna_error) C.int32_t { return C.puna_trainer_create(&t.raw, m.raw, &options, e) })
	runtime.KeepAlive(m)
	if err != nil {
		return nil, err
	}
	runtime.SetFinalizer(t, (*Trainer).Close)
	return t, nil
}

// Close frees the run.
func (t *Trainer) Close() {
	C.puna_trainer_destroy(t.raw)
	t.raw = nil
	runtime.SetFinalizer(t, nil)
}

func (t *Trainer) named(path string, f func(path *C.char, e *C.puna_error) C.int32_t) error {
	cpath := C.CString(path)
	defer C.free(unsafe.Pointer(cpath))
	err := call(func(e *C.puna_error) C.int32_t { return f(cpath, e) })
	runtime.KeepAlive(t)
	return err
}

// AddFile adds the rows of a file: JSON lines, CSV or text, recognised by themselves.
func (t *Trainer) AddFile(path string) error {
	return t.named(path, func(p *C.char, e *C.puna_error) C.int32_t { return C.puna_trainer_add_file(t.raw, 0, p, nil, e) })
}

// Run trains to the end.
func (t *Trainer) Run() error {
	err := call(func(e *C.puna_error) C.int32_t { return C.puna_trainer_run(t.raw, nil, e) })
	runtime.KeepAlive(t)
	return err
}

// Save writes a PEFT folder, or a .gguf; for a full run a model.
func (t *Trainer) Save(path string) error {
	return t.named(path, func(p *C.char, e *C.puna_error) C.int32_t { return C.puna_trainer_save(t.raw, p, nil, e) })
}

// HeldOut is the loss of the rows that were held out, before and after; NaN where there are none.
func (t *Trainer) HeldOut() (before, after float64, err error) {
	var info C.puna_train_info
	err = call(func(e *C.puna_error) C.int32_t {
		return C.puna_trainer_get_info(t.raw, &info, C.size_t(unsafe.Sizeof(info)), e)
	})
	runtime.KeepAlive(t)
	return float64(info.held_out_before), float64(info.held_out_after), err
}
