#!/usr/bin/env bash
# Which path does a processor take? The kernel tests under qemu's models of processors older than this machine, and with
# PUNA_FORCE_ISA. An instruction that the model lacks ends the program with SIGILL.
# usage: dispatch.sh KERNEL_TESTS
set -euo pipefail
tests=$1
case $(uname -m) in x86_64) ;; *) echo "models of x86-64 only"; exit 77 ;; esac
[ -z "${PUNA_SANITIZE:-}" ] || { echo "sanitizers do not run under qemu"; exit 77; }

expect() {  # what, expected path, command...
    local what=$1 path=$2; shift 2
    local out; out=$("$@" -s '-tc=which*,swiglu*,*takes weights*' 2>&1) || { echo "$what: $out"; exit 1; }
    grep -q "the machine's own: $path\$" <<<"$out" || { echo "$what should run $path: $out"; exit 1; }
    echo "$what runs $path"
}
for isa in reference baseline; do expect "PUNA_FORCE_ISA=$isa" $isa env PUNA_FORCE_ISA=$isa "$tests"; done
if out=$(PUNA_FORCE_ISA=none "$tests" '-tc=which*' 2>&1); then echo "PUNA_FORCE_ISA=none was taken: $out"; exit 1; fi
grep -q 'PUNA_FORCE_ISA=none cannot run here; possible: reference, baseline' <<<"$out"

command -v qemu-x86_64 >/dev/null || { echo "no qemu-x86_64: models not tried"; exit 77; }
expect "Nehalem" baseline qemu-x86_64 -cpu Nehalem "$tests"
expect "SandyBridge (AVX without AVX2)" baseline qemu-x86_64 -cpu SandyBridge "$tests"
expect "Haswell" avx2 qemu-x86_64 -cpu Haswell "$tests"
