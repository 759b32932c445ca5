// Finds libpuna: PUNA_LIB_DIR, else build/lib of this repository (./dev build puts it there).
use std::{env, path::PathBuf};

fn main() {
    println!("cargo:rerun-if-env-changed=PUNA_LIB_DIR");
    let here = PathBuf::from(env::var("CARGO_MANIFEST_DIR").unwrap());
    let dir = env::var_os("PUNA_LIB_DIR").map(PathBuf::from).unwrap_or_else(|| here.join("../../../build/lib"));
    println!("cargo:rustc-link-search=native={}", dir.display());
    println!("cargo:rustc-link-lib=dylib=puna");
    // For crates that depend on this one: DEP_PUNA_LIB_DIR, to set a run path with.
    println!("cargo:lib_dir={}", dir.display());
}
