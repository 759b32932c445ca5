use std::path::Path;

use puna::{Adapter, Model, Options, TrainOptions};

#[test]
fn an_adapter_is_trained_and_used() {
    let model = Model::open(Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../tests/fixtures/tiny/model.gguf")).unwrap();
    let dir = std::env::temp_dir().join(format!("puna-rust-{}", std::process::id()));
    std::fs::create_dir_all(&dir).unwrap();
    let mut rows = String::new();
    for name in ["Mia", "Tom", "Ben", "Lily"] {
        for thing in ["boat", "kite", "drum", "cake"] {
            rows += &format!("{{\"text\":\"{name} made a {thing}. The {thing} was very big.\"}}\n");
        }
    }
    let data = dir.join("rows.jsonl");
    std::fs::write(&data, rows).unwrap();
    let options = TrainOptions { learning_rate: 5e-3, epochs: 6, batch: 2, length: 64, held_out_permille: 250, ..TrainOptions::default() };
    let mut trainer = model.trainer(&options).unwrap();
    trainer.add_file(&data).unwrap();
    trainer.run().unwrap();
    let (before, after) = trainer.held_out().unwrap();
    assert!(after < before, "{after} {before}");
    let path = dir.join("adapter.gguf");
    trainer.save(&path).unwrap();

    let adapter = model.adapter(&path).unwrap();
    let mut session = model.session().unwrap();
    let mut said = |uses: &[(&Adapter, f32)]| -> String {
        session.truncate(0).unwrap();
        session.set_adapters(uses).unwrap();
        let options = Options { max_tokens: 12, ..Options::default() };
        session.generate_with("Tom made a", &options).unwrap().map(|p| p.unwrap()).collect()
    };
    let plain = said(&[]);
    assert_ne!(said(&[(&adapter, 1.0)]), plain);
    assert_eq!(said(&[(&adapter, 0.5), (&adapter, -0.5)]), plain);
    drop(adapter);
    assert_eq!(said(&[]), plain);
    assert!(model.adapter(dir.join("absent.gguf")).is_err());
    std::fs::remove_dir_all(&dir).unwrap();
}
