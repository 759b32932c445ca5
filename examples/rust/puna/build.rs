// Tests and examples find libpuna where puna-sys found it.
fn main() {
    if let Ok(dir) = std::env::var("DEP_PUNA_LIB_DIR") {
        println!("cargo:rustc-link-arg=-Wl,-rpath,{}", dir);
    }
}
