use std::path::{Path, PathBuf};

use puna::{Model, Options, Stop};

fn tiny() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../tests/fixtures/tiny/model.gguf")
}

/// Real data lies beside the checkout, or where PUNA_SHARED_DATA says.
fn shared(name: &str) -> Option<PathBuf> {
    let dir = std::env::var_os("PUNA_SHARED_DATA")
        .map(PathBuf::from)
        .unwrap_or_else(|| Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../../shared/data"));
    let path = dir.join(name);
    path.exists().then(|| path)
}

#[test]
fn pieces_join_to_the_same_text_every_time() {
    let model = Model::open(tiny()).unwrap();
    let options = Options { max_tokens: 40, ..Options::default() };
    let run = || {
        let mut session = model.session().unwrap();
        let mut generation = session.generate_with("Once upon a time", &options).unwrap();
        let text: String = generation.by_ref().map(|p| p.unwrap()).collect();
        (text, generation.summary().unwrap())
    };
    let (text, summary) = run();
    assert!(!text.is_empty());
    assert!(summary.tokens <= 40 && summary.tokens > 0);
    assert_eq!(text, run().0);
}

#[test]
fn stories260k_tells_run_c_s_story() {
    let path = if let Some(path) = shared("models/stories260K/stories260K.gguf") {
        path
    } else {
        eprintln!("skipped: no shared data");
        return;
    };
    let model = Model::open(path).unwrap();
    let mut session = model.session().unwrap();
    let options = Options { max_tokens: 196, ..Options::default() };
    let prompt = "Once upon a time";
    let text: String = session.generate_with(prompt, &options).unwrap().map(|p| p.unwrap()).collect();
    let expected = std::fs::read_to_string(shared("models/stories260K/expected.txt").unwrap()).unwrap();
    assert_eq!(format!("{prompt}{text}").trim_end(), expected.trim_end());
}

#[test]
fn stopping_early_leaves_the_session_usable() {
    let model = Model::open(tiny()).unwrap();
    let mut session = model.session().unwrap();
    let first = session.generate("Once upon a time").unwrap().next().unwrap().unwrap();
    assert!(!first.is_empty());
    let held = session.len().unwrap();
    assert!(held > 0);
    session.truncate(0).unwrap();
    let again = session.generate("Once upon a time").unwrap().next().unwrap().unwrap();
    assert_eq!(first, again);
}

#[test]
fn many_threads_share_one_model() {
    let model = Model::open(tiny()).unwrap();
    let story = |seed| {
        let options = Options { max_tokens: 30, temperature: 0.8, top_p: 0.9, seed, ignore_eos: true, ..Options::default() };
        let mut session = model.session_with(128).unwrap();
        let mut generation = session.generate_with("Once", &options).unwrap();
        let text: String = generation.by_ref().map(|p| p.unwrap()).collect();
        assert_eq!(generation.summary().unwrap().stop, Stop::Length);
        text
    };
    let alone: Vec<String> = (0..4).map(story).collect();
    let together: Vec<String> = std::thread::scope(|s| {
        let threads: Vec<_> = (0..4).map(|seed| s.spawn(move || story(seed))).collect();
        threads.into_iter().map(|t| t.join().unwrap()).collect()
    });
    assert_eq!(alone, together);
}

#[test]
fn errors_name_the_file_and_the_status() {
    let error = Model::open("no/such/model.gguf").err().unwrap();
    assert_eq!(error.name(), "PUNA_E_IO");
    assert!(error.to_string().contains("no/such/model.gguf"));
    let model = Model::open(tiny()).unwrap();
    let error = model.session_with(8).unwrap().generate(&"word ".repeat(100)).err().unwrap();
    assert_eq!(error.name(), "PUNA_E_CONTEXT_FULL");
}

#[test]
fn ids_and_back() {
    let model = Model::open(tiny()).unwrap();
    let ids = model.encode("Once upon a time ☺").unwrap();
    assert_eq!(model.decode(&ids).unwrap(), "Once upon a time ☺");
    assert!(model.info().unwrap().dim > 0);
}
