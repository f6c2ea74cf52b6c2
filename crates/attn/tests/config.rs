//! What a configuration file may say.

use attn::{AttentionConfig, Edge, Kind, Score};

fn parse(json: &str) -> Result<AttentionConfig, String> {
    serde_json::from_str(json).map_err(|error| error.to_string())
}

#[test]
fn values_are_written_in_kebab_case() {
    let config = parse(
        r#"{"kind": "local-p", "score": "concat", "window": 7, "sigma": 2.5, "edge": "rounded",
            "renormalize": true, "max_src_len": 50, "score_dim": 3, "position_dim": 5}"#,
    )
    .unwrap();
    assert_eq!((config.kind, config.score), (Kind::LocalP, Score::Concat));
    assert_eq!((config.edge, config.renormalize), (Edge::Rounded, true));
    assert_eq!(config.sigma.map(f64::from), Some(2.5));
}

#[test]
fn nothing_said_means_global_attention_with_the_general_score() {
    let config = parse("{}").unwrap();
    assert_eq!(config, AttentionConfig::default());
    assert_eq!(
        (config.kind, config.score, config.window.get()),
        (Kind::Global, Score::General, 10)
    );
}

#[test]
fn what_is_written_is_read_back() {
    for text in ["{}", r#"{"kind": "none"}"#, r#"{"kind": "local-m", "sigma": 0.5}"#] {
        let config = parse(text).unwrap();
        assert_eq!(parse(&serde_json::to_string(&config).unwrap()).unwrap(), config);
    }
}

#[test]
fn nonsense_is_refused_by_name() {
    for (text, part) in [
        (r#"{"windov": 10}"#, "unknown field `windov`"),
        (r#"{"kind": "local"}"#, "unknown variant `local`"),
        (r#"{"window": 0}"#, "nonzero"),
        (r#"{"max_src_len": 0}"#, "nonzero"),
        (r#"{"sigma": 0}"#, "sigma is a positive number of source positions, got 0"),
        (r#"{"sigma": -1.5}"#, "got -1.5"),
    ] {
        let message = parse(text).unwrap_err();
        assert!(message.contains(part), "{text}: {message}");
    }
}
