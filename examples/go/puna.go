// Package puna runs Llama 2 inside a Go program, over the C library.
//
//	model, err := puna.Open("model.gguf")
//	session, err := model.NewSession(0)
//	generation, err := session.Start(ctx, "Once upon a time", puna.Options{})
//	for generation.Next() {
//		fmt.Print(generation.Text())
//	}
//	err = generation.Err()
//
// From Go 1.23 on: for piece, err := range session.Generate(ctx, prompt).
//
// A Model may be shared by goroutines; a Session is used by one at a time. Close in any order. Text arrives in whole
// characters. The library is found in build/lib of the repository (./dev build), or where CGO_LDFLAGS says.
package puna

/*
#cgo CFLAGS: -I${SRCDIR}/../../capi/include
#cgo LDFLAGS: -L${SRCDIR}/../../build/lib -lpuna -Wl,-rpath,${SRCDIR}/../../build/lib
#include <stdlib.h>
#include <puna.h>
*/
import "C"

import (
	"runtime"
	"unsafe"
)

// Error is a status of the C library with its text.
type Error struct {
	Code int32 // one of PUNA_E_…
	Text string
}

func (e *Error) Error() string {
	if e.Text == "" {
		return C.GoString(C.puna_status_name(C.int32_t(e.Code)))
	}
	return e.Text
}

// Statuses that a program may want to tell apart.
const (
	ErrArgument    = 1
	ErrMemory      = 2
	ErrIO          = 3
	ErrFormat      = 4
	ErrUnsupported = 5
	ErrContextFull = 6
	ErrCancelled   = 7
)

// call makes a C call that takes a puna_error and turns its status into an error.
func call(f func(e *C.puna_error) C.int32_t) error {
	var e C.puna_error
	C.puna_error_init(&e, C.size_t(unsafe.Sizeof(e)))
	if code := f(&e); code != 0 {
		return &Error{int32(code), C.GoString(&e.text[0])}
	}
	return nil
}

// Version of the library that was loaded.
func Version() string { return C.GoString(C.puna_version()) }

// Model holds weights, vocabulary and metadata; it never changes.
type Model struct{ raw *C.puna_model }

// Open reads a GGUF file, a Hugging Face folder, a Meta folder or checkpoint, or a llama2.c file.
func Open(path string) (*Model, error) {
	cpath := C.CString(path)
	defer C.free(unsafe.Pointer(cpath))
	m := &Model{}
	if err := call(func(e *C.puna_error) C.int32_t { return C.puna_model_open(&m.raw, nil, cpath, nil, e) }); err != nil {
		return nil, err
	}
	runtime.SetFinalizer(m, (*Model).Close)
	return m, nil
}

// Close frees the model; sessions on it live on.
func (m *Model) Close() {
	C.puna_model_destroy(m.raw)
	m.raw = nil
	runtime.SetFinalizer(m, nil)
}

// Context is the longest sequence the model was made for, in tokens.
func (m *Model) Context() (int, error) {
	var info C.puna_model_info
	err := call(func(e *C.puna_error) C.int32_t {
		return C.puna_model_get_info(m.raw, &info, C.size_t(unsafe.Sizeof(info)), e)
	})
	runtime.KeepAlive(m)
	return int(info.context), err
}

// Encode gives the ids of a text, with the model's own choice about BOS.
func (m *Model) Encode(text string) ([]int32, error) {
	tokenizer := C.puna_model_tokenizer(m.raw)
	ctext := C.CString(text)
	defer C.free(unsafe.Pointer(ctext))
	var count C.size_t
	encode := func(ids *C.int32_t, capacity int) error {
		return call(func(e *C.puna_error) C.int32_t {
			return C.puna_tokenizer_encode(tokenizer, ctext, C.size_t(len(text)), nil, ids, C.size_t(capacity), &count, e)
		})
	}
	if err := encode(nil, 0); err != nil || count == 0 {
		return nil, err
	}
	ids := make([]int32, count)
	err := encode((*C.int32_t)(unsafe.Pointer(&ids[0])), len(ids))
	runtime.KeepAlive(m)
	return ids, err
}

// Session is a sequence in progress on a model.
type Session struct{ raw *C.puna_session }

// NewSession makes a session that holds at most context tokens; 0 for the model's own.
func (m *Model) NewSession(context int) (*Session, error) {
	var options C.puna_session_options
	C.puna_session_options_init(&options, C.size_t(unsafe.Sizeof(options)))
	options.context = C.uint32_t(context)
	s := &Session{}
	err := call(func(e *C.puna_error) C.int32_t { return C.puna_session_create(&s.raw, m.raw, &options, e) })
	runtime.KeepAlive(m)
	if err != nil {
		return nil, err
	}
	runtime.SetFinalizer(s, (*Session).Close)
	return s, nil
}

// Close frees the session.
func (s *Session) Close() {
	C.puna_session_destroy(s.raw)
	s.raw = nil
	runtime.SetFinalizer(s, nil)
}

// Len is the number of tokens held.
func (s *Session) Len() (int, error) {
	var n C.uint32_t
	err := call(func(e *C.puna_error) C.int32_t { return C.puna_session_length(s.raw, 0, &n, e) })
	runtime.KeepAlive(s)
	return int(n), err
}

// Truncate forgets everything after the first n tokens.
func (s *Session) Truncate(n int) error {
	err := call(func(e *C.puna_error) C.int32_t { return C.puna_session_truncate(s.raw, 0, C.uint32_t(n), e) })
	runtime.KeepAlive(s)
	return err
}
