//! cargo run --example generate MODEL PROMPT
use std::io::Write;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut args = std::env::args().skip(1);
    let (path, prompt) = match (args.next(), args.next()) {
        (Some(path), Some(prompt)) => (path, prompt),
        _ => return Err("usage: generate MODEL PROMPT".into()),
    };
    for piece in puna::Model::open(path)?.session()?.generate(&prompt)? {
        print!("{}", piece?);
        std::io::stdout().flush()?;
    }
    println!();
    Ok(())
}
