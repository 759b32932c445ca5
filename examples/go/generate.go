package puna

/*
#include <stdlib.h>
#include <puna.h>

extern int32_t punaGoText(void* user, char* text, size_t length);
*/
import "C"

import (
	"context"
	"runtime"
	"runtime/cgo"
	"unsafe"
)

// Options say how to continue a prompt. The zero value is greedy, until the end of the text or the context.
type Options struct {
	MaxTokens   int     // 0: until the context is full
	Temperature float64 // 0: the likeliest token, always
	TopK        int     // 0: off
	TopP        float64 // 0 or 1: off
	Seed        uint64
	Stop        []string // the text ends before the first of these that appears
	IgnoreEOS   bool
}

// Summary is what a finished generation was.
type Summary struct {
	Stop                 string // "eos", "length", "context" or "string"
	PromptTokens, Tokens int
	PromptMS, DecodeMS   float64
}

// Generation is text as it is drawn.
type Generation struct {
	ctx     context.Context
	session *Session
	job     *C.puna_job
	sampler *C.puna_sampler
	handle  cgo.Handle
	cell    *C.uintptr_t // the handle, where C may keep a pointer to it
	pieces  []string
	text    string
	done    bool
	err     error
}

// stepMS is how long one step may take before the context is looked at.
const stepMS = 5.0

//export punaGoText
func punaGoText(user unsafe.Pointer, text *C.char, length C.size_t) C.int32_t {
	g := cgo.Handle(*(*C.uintptr_t)(user)).Value().(*Generation)
	g.pieces = append(g.pieces, C.GoStringN(text, C.int(length)))
	return 0
}

// Start continues the session: the prompt is appended, then text is drawn. Read it with Next and Text.
func (s *Session) Start(ctx context.Context, prompt string, o Options) (*Generation, error) {
	g := &Generation{ctx: ctx, session: s}
	g.handle = cgo.NewHandle(g)
	g.cell = (*C.uintptr_t)(C.malloc(C.size_t(unsafe.Sizeof(C.uintptr_t(0)))))
	*g.cell = C.uintptr_t(g.handle)
	if err := g.begin(prompt, o); err != nil {
		g.Close()
		return nil, err
	}
	return g, nil
}

func (g *Generation) begin(prompt string, o Options) error {
	if o.Temperature != 0 {
		if err := g.addSampler(o); err != nil {
			return err
		}
	}
	// Options are read during the call only, but C memory must not hold Go pointers: so they live in C.
	options := (*C.puna_generate_options)(C.calloc(1, C.size_t(unsafe.Sizeof(C.puna_generate_options{}))))
	defer C.free(unsafe.Pointer(options))
	C.puna_generate_options_init(options, C.size_t(unsafe.Sizeof(*options)))
	options.max_tokens = C.uint32_t(o.MaxTokens)
	if o.IgnoreEOS {
		options.flags = C.PUNA_GENERATE_IGNORE_EOS
	}
	options.sampler = g.sampler
	if len(o.Stop) > 0 {
		stop := (**C.char)(C.calloc(C.size_t(len(o.Stop)), C.size_t(unsafe.Sizeof(uintptr(0)))))
		defer C.free(unsafe.Pointer(stop))
		for i, s := range o.Stop {
			cs := C.CString(s)
			defer C.free(unsafe.Pointer(cs))
			*(**C.char)(unsafe.Add(unsafe.Pointer(stop), uintptr(i)*unsafe.Sizeof(uintptr(0)))) = cs
		}
		options.stop, options.stop_count = stop, C.uint32_t(len(o.Stop))
	}
	cprompt := C.CString(prompt)
	defer C.free(unsafe.Pointer(cprompt))
	err := call(func(e *C.puna_error) C.int32_t {
		return C.puna_session_generate_job(&g.job, g.session.raw, cprompt, C.size_t(len(prompt)), options,
			C.puna_text_fn(C.punaGoText), unsafe.Pointer(g.cell), e)
	})
	runtime.KeepAlive(g.session)
	return err
}

func (g *Generation) addSampler(o Options) error {
	topP := o.TopP
	if topP == 0 {
		topP = 1
	}
	for _, add := range []func(e *C.puna_error) C.int32_t{
		func(e *C.puna_error) C.int32_t { return C.puna_sampler_create(&g.sampler, C.uint64_t(o.Seed), e) },
		func(e *C.puna_error) C.int32_t { return C.puna_sampler_add_top_k(g.sampler, C.uint32_t(o.TopK), e) },
		func(e *C.puna_error) C.int32_t { return C.puna_sampler_add_top_p(g.sampler, C.double(topP), e) },
		func(e *C.puna_error) C.int32_t {
			return C.puna_sampler_add_temperature(g.sampler, C.double(o.Temperature), e)
		},
	} {
		if err := call(add); err != nil {
			return err
		}
	}
	return nil
}

// Next waits for the next piece of text and reports whether there is one. It ends when the text does, when the context is
// done, or on an error: see Err.
func (g *Generation) Next() bool {
	for len(g.pieces) == 0 && !g.done && g.err == nil {
		if err := g.ctx.Err(); err != nil {
			g.err = err
			break
		}
		var done C.int32_t
		g.err = call(func(e *C.puna_error) C.int32_t { return C.puna_job_step(g.job, stepMS, &done, e) })
		g.done = done != 0
	}
	if len(g.pieces) == 0 {
		return false
	}
	g.text, g.pieces = g.pieces[0], g.pieces[1:]
	return true
}

// Text is the piece that Next found: whole characters.
func (g *Generation) Text() string { return g.text }

// Err is what ended it early, if anything did.
func (g *Generation) Err() error { return g.err }

// Summary of a finished generation.
func (g *Generation) Summary() (Summary, error) {
	var r C.puna_generate_result
	err := call(func(e *C.puna_error) C.int32_t { return C.puna_job_generated(g.job, &r, C.size_t(unsafe.Sizeof(r)), e) })
	names := map[C.int32_t]string{C.PUNA_STOP_EOS: "eos", C.PUNA_STOP_LENGTH: "length", C.PUNA_STOP_CONTEXT: "context", C.PUNA_STOP_STRING: "string"}
	return Summary{names[r.stop], int(r.prompt_tokens), int(r.tokens), float64(r.prompt_ms), float64(r.decode_ms)}, err
}

// Close stops the work, where it is not finished, and frees it.
func (g *Generation) Close() {
	if g.cell == nil {
		return
	}
	C.puna_job_destroy(g.job)
	C.puna_sampler_destroy(g.sampler)
	C.free(unsafe.Pointer(g.cell))
	g.handle.Delete()
	g.job, g.sampler, g.cell, g.done = nil, nil, nil, true
}
