//! Parity with Python's tokenizers (tests/golden/input.py), words, truncation, and arbitrary text.

use std::path::PathBuf;
use std::sync::LazyLock;

use proptest::prelude::*;
use serde::Deserialize;

use super::words::{Piece, group};
use super::*;

fn file(name: &str) -> Vec<u8> {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join(name);
    std::fs::read(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

fn tokenizer(name: &str) -> Vec<u8> {
    match name {
        "sentiment" => file("models/sentiment/tokenizer.json"),
        name if name.starts_with("tiny-") => file(&format!("tests/golden/{name}/tokenizer.json")),
        name => file(&format!("tests/golden/input/{name}.json")),
    }
}

fn processor(name: &str, max: usize) -> TextProcessor {
    let config = (name == "sentiment").then(|| file("models/sentiment/tokenizer_config.json"));
    TextProcessor::new(&tokenizer(name), config.as_deref(), max, 17_795).unwrap()
}

static BERT: LazyLock<TextProcessor> = LazyLock::new(|| processor("sentiment", 512));
static ALL: LazyLock<Vec<TextProcessor>> =
    LazyLock::new(|| ["sentiment", "byte_level", "metaspace", "whole"].map(|name| processor(name, 40)).into());

fn encode(text: &str) -> TextInput {
    BERT.encode(text, None, Truncation::Truncate).unwrap()
}

/// Words as `text@start..end`.
fn words(input: &TextInput) -> Vec<String> {
    input.words.iter().map(|word| format!("{}@{}..{}", word.text, word.start, word.end)).collect()
}

#[derive(Clone, Deserialize)]
struct Case {
    tokenizer: String,
    text: String,
    pair: Option<String>,
    max: Option<usize>,
    ids: Vec<u32>,
    tokens: Vec<String>,
    type_ids: Vec<u32>,
    offsets: Vec<(usize, usize)>,
    special: Vec<u32>,
    word_ids: Vec<Option<u32>>,
    sequence_ids: Vec<Option<usize>>,
}

#[test]
fn tokens_offsets_and_types_are_pythons() {
    let cases = |name: &str| -> Vec<Case> { serde_json::from_slice(&file(name)).unwrap() };
    // What each family's own class of transformers makes: byte-level BPE, Unigram, WordPiece.
    let cases = [cases("tests/golden/input/texts.json"), cases("tests/golden/values/tokenizers.json")].concat();
    for case in &cases {
        let processor = processor(&case.tokenizer, case.max.unwrap_or(512));
        let input = processor.encode(&case.text, case.pair.as_deref(), Truncation::Truncate).unwrap();
        let what = format!("{} {:?} {:?} {:?}", case.tokenizer, case.text, case.pair, case.max);
        assert_eq!(input.ids().collect::<Vec<_>>(), case.ids, "{what}");
        assert_eq!(input.type_ids, case.type_ids, "{what}");
        assert_eq!(input.truncated(), case.max.is_some(), "{what}");
        for (index, token) in input.tokens.iter().enumerate() {
            assert_eq!(token.text, case.tokens[index], "{what}");
            assert_eq!((token.start, token.end), case.offsets[index], "{what} token {index}");
            assert_eq!(token.special, case.special[index] == 1, "{what} token {index}");
            let sequence = case.sequence_ids[index].filter(|_| !token.special);
            assert_eq!(token.sequence, case.pair.as_ref().map(|_| sequence), "{what} token {index}");
        }
        check_words(&input, &what);
        check_groups(&input, case, &what);
    }
}

/// Tokens of different `word_ids` never share a word, but for white space, which joins its neighbour.
fn check_groups(input: &TextInput, case: &Case, what: &str) {
    for (index, pair) in input.tokens.windows(2).enumerate() {
        let text = if pair[0].sequence == Some(Some(1)) { case.pair.as_deref().unwrap_or("") } else { &case.text };
        let blank =
            |token: &Token| text.chars().skip(token.start).take(token.end - token.start).all(char::is_whitespace);
        if pair.iter().any(|token| token.word.is_none() || blank(token)) {
            continue;
        }
        if case.word_ids[index] != case.word_ids[index + 1] {
            assert_ne!(pair[0].word, pair[1].word, "{what} tokens {index} and after");
        }
    }
}

fn check_words(input: &TextInput, what: &str) {
    let mut before = (0, 0);
    for word in &input.words {
        let text = if word.sequence == Some(1) { input.pair.as_deref().unwrap_or("") } else { &input.text };
        let slice: String = text.chars().skip(word.start).take(word.end - word.start).collect();
        assert_eq!(slice, word.text, "{what}");
        assert!(!slice.is_empty() && !slice.contains(char::is_whitespace), "{what}: {slice:?}");
        let place = (word.sequence.unwrap_or(0), word.start);
        assert!(before <= place, "{what}: words out of order");
        before = place;
        assert_eq!(word.sequence.is_some(), input.pair.is_some(), "{what}");
    }
    let mut owned = vec![false; input.words.len()];
    for token in &input.tokens {
        let text = if token.sequence == Some(Some(1)) { input.pair.as_deref().unwrap_or("") } else { &input.text };
        assert!(token.start <= token.end && token.end <= text.chars().count(), "{what}: {token:?}");
        assert!(!(token.special && token.word.is_some()), "{what}: {token:?}");
        if let Some(word) = token.word {
            assert_eq!(token.sequence, input.pair.as_ref().map(|_| input.words[word].sequence), "{what}");
            owned[word] = true;
        }
    }
    assert_eq!(input.type_ids.len(), input.tokens.len());
}

#[test]
fn words_are_whole_whatever_the_tokens() {
    assert_eq!(words(&encode("a gripping, film")), ["a@0..1", "gripping@2..10", ",@10..11", "film@12..16"]);
    assert_eq!(words(&encode("Don't")), ["Don@0..3", "'@3..4", "t@4..5"]);
    assert_eq!(words(&encode("Crème brûlée")), ["Crème@0..5", "brûlée@6..12"]);
    assert_eq!(words(&encode("so 😀👍🏽 ok")), ["so@0..2", "😀👍🏽@3..6", "ok@7..9"]);
    assert_eq!(words(&encode("我喜欢。")), ["我@0..1", "喜@1..2", "欢@2..3", "。@3..4"]);
    assert_eq!(words(&encode("a")), ["a@0..1"]);
}

/// Where the template adds nothing, a token stands for the empty text: the first of bos, unk and eos.
#[test]
fn the_empty_text_is_one_special_token_at_least() {
    let gpt2 = |config: &str| {
        let processor = TextProcessor::new(&tokenizer("tiny-gpt2"), Some(config.as_bytes()), 40, 300).unwrap();
        [None, Some("")].map(|pair| processor.encode("", pair, Truncation::Truncate))
    };
    for config in [r#"{"bos_token": "<|endoftext|>", "unk_token": "a"}"#, r#"{"eos_token": "<|endoftext|>"}"#] {
        for (input, paired) in gpt2(config).into_iter().zip([false, true]) {
            let input = input.unwrap();
            assert_eq!((input.original_tokens, input.type_ids.as_slice()), (1, [0].as_slice()));
            let [token] = input.tokens.as_slice() else { panic!("{:?}", input.tokens) };
            assert_eq!((token.text.as_str(), token.start, token.end), ("<|endoftext|>", 0, 0));
            assert!(token.special && token.word.is_none() && input.words.is_empty() && !input.truncated());
            assert_eq!(token.sequence, paired.then_some(None));
        }
    }
    assert!(gpt2("{}").into_iter().all(|input| matches!(input, Err(TextError::NoToken))));
}

#[test]
fn the_empty_text_has_only_specials() {
    for text in ["", "  \n"] {
        let input = encode(text);
        assert!(input.words.is_empty() && input.tokens.iter().all(|token| token.special && token.word.is_none()));
        assert_eq!((input.tokens.len(), input.original_tokens), (2, 2));
    }
}

#[test]
fn a_pair_counts_in_its_own_text() {
    let input = BERT.encode("a film", Some("good film"), Truncation::Error).unwrap();
    let places: Vec<_> = input.words.iter().map(|word| (word.text.as_str(), word.start, word.sequence)).collect();
    assert_eq!(places, [("a", 0, Some(0)), ("film", 2, Some(0)), ("good", 0, Some(1)), ("film", 5, Some(1))]);
    assert_eq!(input.tokens[0].sequence, Some(None));
    assert_eq!(input.tokens[4].word, Some(2));
    assert_eq!(input.type_ids, [0, 0, 0, 0, 1, 1, 1]);
    let json = serde_json::to_value(&input.tokens[0]).unwrap();
    assert_eq!(json.get("sequence"), Some(&serde_json::Value::Null));
    assert!(serde_json::to_value(&encode("a").tokens[0]).unwrap().get("sequence").is_none());
}

#[test]
fn a_written_separator_is_a_token_like_python_has_it() {
    let input = encode("[SEP]");
    assert_eq!(
        input.ids().collect::<Vec<_>>(),
        [BERT.specials().cls, BERT.specials().sep, BERT.specials().sep].map(Option::unwrap)
    );
    assert!(!input.tokens[1].special && input.tokens[2].special);
    assert_eq!(words(&input), ["[SEP]@0..5"]);
}

#[test]
fn too_long_is_cut_or_refused() {
    let processor = processor("sentiment", 8);
    let text = "one two three four five six seven";
    let cut = processor.encode(text, None, Truncation::Truncate).unwrap();
    assert_eq!((cut.tokens.len(), cut.original_tokens, cut.truncated()), (8, 9, true));
    assert_eq!(cut.words.last().map(|word| word.text.as_str()), Some("six"));
    assert_eq!(cut.tokens.last().map(|token| token.id), processor.specials().sep);
    let refused = processor.encode(text, None, Truncation::Error).unwrap_err();
    assert!(matches!(refused, TextError::TooManyTokens { tokens: 9, max: 8, second: false }), "{refused}");
    let pair = processor.encode(text, Some("b"), Truncation::Truncate).unwrap();
    assert_eq!((pair.tokens.len(), pair.original_tokens, pair.words.len()), (8, 11, 5));
    // The template of a pair takes three.
    let tight = super::tests::processor("sentiment", 3);
    assert!(tight.encode("", Some(""), Truncation::Truncate).is_ok());
    assert_eq!(tight.encode("x", Some("y"), Truncation::Truncate).unwrap().words.len(), 0);
}

#[test]
fn hashes_are_of_the_text_as_sent() {
    assert_eq!(encode("abc").sha256, "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
    let pair = BERT.encode("a", Some("b"), Truncation::Error).unwrap();
    assert_eq!(pair.sha256, encode("a\0b").sha256);
}

#[test]
fn special_tokens_come_from_the_configuration_alone() {
    let json = tokenizer("sentiment");
    let specials =
        |config: Option<&str>| TextProcessor::new(&json, config.map(str::as_bytes), 512, 17_795).unwrap().specials();
    let named = specials(Some(
        r#"{"mask_token": {"content": "[MASK]", "lstrip": false}, "pad_token": null, "sep_token": "<gone>"}"#,
    ));
    assert_eq!(named, SpecialIds { mask: BERT.specials().mask, ..SpecialIds::default() });
    assert!(named.mask.is_some());
    assert_eq!(specials(None), BERT.specials());
}

#[test]
fn types_are_sent_only_where_the_model_takes_them() {
    let json = tokenizer("sentiment");
    let types = |config: Option<&str>| {
        let processor = TextProcessor::new(&json, config.map(str::as_bytes), 512, 17_795).unwrap();
        processor.encode("a", Some("b"), Truncation::Error).unwrap().type_ids
    };
    assert_eq!(types(None), [0, 0, 0, 1, 1]);
    assert_eq!(types(Some(r#"{"model_input_names": ["input_ids", "token_type_ids"]}"#)), [0, 0, 0, 1, 1]);
    assert_eq!(types(Some(r#"{"model_input_names": ["input_ids", "attention_mask"]}"#)), [0; 5]);
}

#[test]
fn the_length_is_the_smaller_of_the_two() {
    let json = tokenizer("sentiment");
    let max = |config: &str| TextProcessor::new(&json, Some(config.as_bytes()), 512, 17_795).unwrap().max_tokens();
    assert_eq!(max("{}"), 512);
    assert_eq!(max(r#"{"model_max_length": 128}"#), 128);
    assert_eq!(max(r#"{"model_max_length": 4096}"#), 512);
    assert_eq!(max(r#"{"model_max_length": 1000000000000000019884624838656}"#), 512);
    assert_eq!(max(r#"{"model_max_length": null}"#), 512);
    assert_eq!(max(r#"{"model_max_length": -1}"#), 512);
}

#[test]
fn files_that_do_not_fit_are_refused_with_their_name() {
    let json = tokenizer("sentiment");
    let error = |json: &[u8], config: Option<&[u8]>, max, vocab| match TextProcessor::new(json, config, max, vocab) {
        Err(error) => error.to_string(),
        Ok(_) => panic!("accepted"),
    };
    assert!(error(b"{}", None, 512, 10).starts_with("tokenizer.json: "));
    assert!(error(&json, Some(b"["), 512, 17_795).starts_with("tokenizer_config.json: "));
    let outside = error(&json, None, 512, 17_000);
    assert!(outside.contains("id 17794") && outside.contains("17000 embeddings"), "{outside}");
    assert!(error(&json, None, 2, 17_795).contains("no room"));
    // An added token may lie behind the embedding: it is no special then, and no text may hold it.
    let mut added: serde_json::Value = serde_json::from_slice(&json).unwrap();
    let token = serde_json::json!({"id": 17_795, "content": "<image>", "single_word": false, "lstrip": false,
        "rstrip": false, "normalized": false, "special": true});
    added["added_tokens"].as_array_mut().unwrap().push(token);
    let config = br#"{"pad_token": "<image>", "unk_token": "[UNK]"}"#;
    let processor = TextProcessor::new(added.to_string().as_bytes(), Some(config), 512, 17_795).unwrap();
    assert!(processor.specials().pad.is_none() && processor.specials().unk.is_some());
    assert!(processor.encode("a film", None, Truncation::Truncate).is_ok());
    let refused = processor.encode("a <image>", None, Truncation::Truncate).unwrap_err().to_string();
    assert!(refused.contains("id 17795 is outside the model's 17795 embeddings"), "{refused}");
    // The template's ids stand in no vocabulary.
    let mut template: serde_json::Value = serde_json::from_slice(&tokenizer("metaspace")).unwrap();
    template["post_processor"]["special_tokens"]["</s>"]["ids"] = serde_json::json!([900]);
    assert!(error(template.to_string().as_bytes(), None, 512, 300).contains("id 900 is outside"));
}

#[test]
fn dropout_truncation_and_padding_of_the_file_are_off() {
    let mut json: serde_json::Value = serde_json::from_slice(&tokenizer("byte_level")).unwrap();
    json["model"]["dropout"] = serde_json::json!(0.5);
    json["truncation"] =
        serde_json::json!({"direction": "Right", "max_length": 4, "strategy": "LongestFirst", "stride": 0});
    json["padding"] = serde_json::json!({"strategy": {"Fixed": 64}, "direction": "Right", "pad_to_multiple_of": null,
        "pad_id": 1, "pad_type_id": 0, "pad_token": "<pad>"});
    let changed = TextProcessor::new(json.to_string().as_bytes(), None, 512, 400).unwrap();
    let text = "the film was good and funny, a really great film";
    let plain = processor("byte_level", 512).encode(text, None, Truncation::Error).unwrap();
    for _ in 0..5 {
        assert_eq!(changed.encode(text, None, Truncation::Error).unwrap().tokens, plain.tokens);
    }
}

#[test]
fn windows_cover_a_text_and_overlap_by_a_quarter() {
    let text = "the film was good and funny, a really great film, ".repeat(8);
    for processor in ALL.iter() {
        let whole = processor.encode(&text, None, Truncation::Window).unwrap();
        let specials: Vec<usize> = (0..whole.tokens.len()).filter(|&token| whole.tokens[token].special).collect();
        let room = 40 - specials.len();
        if whole.tokens.len() <= 40 {
            assert!(whole.windows.is_empty());
            continue;
        }
        assert!(whole.windows.len() > 1 && !whole.truncated());
        for pair in whole.windows.windows(2) {
            assert_eq!(pair[1].stretch.start, pair[0].stretch.end - room / 4);
            assert_eq!(pair[0].tokens.len(), 40);
        }
        let last = whole.tokens.iter().rposition(|token| !token.special);
        assert_eq!(whole.windows.last().map(|window| window.stretch.end - 1), last);
        for window in &whole.windows {
            assert!(specials.iter().all(|special| window.tokens.contains(special)));
            assert_eq!(
                (window.type_ids.len(), window.tokens.len() - specials.len()),
                (window.tokens.len(), window.stretch.len())
            );
        }
        assert!((whole.shares().iter().sum::<f64>() - 1.0).abs() < 1e-12);
    }
}

#[test]
fn the_longer_text_of_a_pair_is_cut_into_windows() {
    let long = "the film was good and funny ".repeat(10);
    for (first, second, cut) in [("a film", long.as_str(), 1), (long.as_str(), "a film", 0)] {
        let input = processor("sentiment", 40).encode(first, Some(second), Truncation::Window).unwrap();
        for window in &input.windows {
            let of = |text: usize| {
                let own = |token: &&usize| input.tokens[**token].sequence == Some(Some(text));
                window.tokens.iter().filter(own).count()
            };
            assert_eq!((of(1 - cut), of(cut)), (2, window.stretch.len()));
            assert!(window.tokens.len() <= 40);
            let types = window.tokens.iter().map(|&token| input.type_ids[token]);
            assert!(types.eq(window.type_ids.iter().copied()));
        }
    }
    let error = processor("sentiment", 40).encode(&long, Some(&long), Truncation::Window).unwrap_err();
    assert!(matches!(error, TextError::NoRoom { max: 40, .. }), "{error}");
}

#[test]
fn groups_with_white_space_inside_are_split() {
    let text: Vec<char> = "ab cd  e ".chars().collect();
    let piece = |start, end, group| Piece { start, end, group: Some(group) };
    let mut words = Vec::new();
    // One group; the second token spans two words, the third is the white space between, the last one the end.
    let pieces = [piece(0, 1, 0), piece(1, 4, 0), piece(4, 5, 0), piece(5, 7, 0), piece(7, 8, 0), piece(8, 9, 0)];
    assert_eq!(group(&text, &pieces, None, &mut words), [0, 0, 1, 2, 2, 2].map(Some));
    assert_eq!(words.iter().map(|word| word.text.as_str()).collect::<Vec<_>>(), ["ab", "cd", "e"]);
    // Groups of white space alone go to the next word, the last one to the last.
    let pieces = [piece(0, 2, 0), piece(2, 3, 1), piece(3, 5, 2), piece(5, 7, 3), piece(8, 9, 4)];
    words.clear();
    assert_eq!(group(&text, &pieces, Some(1), &mut words), [0, 1, 1, 1, 1].map(Some));
    words.clear();
    assert_eq!(group(&text, &[piece(2, 3, 0)], None, &mut words), [None]);
}

#[test]
fn without_a_pre_tokeniser_words_are_split_at_white_space() {
    let input = ALL[3].encode("the film was", None, Truncation::Error).unwrap();
    assert_eq!(words(&input), ["the@0..3", "film@4..8", "was@9..12"]);
    assert!(input.tokens.iter().all(|token| token.special == token.word.is_none()));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn any_text_has_sound_tokens_and_words(
        text in prop_oneof![any::<String>(), "[a-zé 😀\\t\\n\u{0301}ﬁ½'’.,我\\[SEP\\]<s/>]{0,60}"],
        pair in prop::option::of(prop_oneof![any::<String>(), "[a-z 😀'½]{0,40}"]),
        which in 0usize..4,
    ) {
        let input = ALL[which].encode(&text, pair.as_deref(), Truncation::Truncate).unwrap();
        prop_assert!(input.tokens.len() <= 40 && input.original_tokens >= input.tokens.len());
        check_words(&input, &format!("{which} {text:?} {pair:?}"));
    }
}

/// A word that is one token is what the token's piece writes, in whatever case the tokenizer has.
#[test]
fn pieces_write_their_words() {
    let text = "The film was good and not bad in 2010 , said the critics of Rome about it";
    let mut found = Vec::new();
    for name in ["sentiment", "byte_level", "metaspace", "tiny-roberta", "tiny-xlm-roberta", "tiny-llama"] {
        let processor = processor(name, 64);
        let input = processor.encode(text, None, Truncation::Truncate).unwrap();
        let mut known = 0;
        for (index, word) in input.words.iter().enumerate() {
            let tokens: Vec<&Token> = input.tokens.iter().filter(|token| token.word == Some(index)).collect();
            let [token] = tokens.as_slice() else { continue };
            if processor.vocabulary().kind(token.id).is_some() {
                let piece = processor.vocabulary().piece(token.id).unwrap();
                assert_eq!(piece.text.to_lowercase(), word.text.to_lowercase(), "{name}");
                assert!(piece.join == Join::Word || index == 0, "{name} {piece:?}");
                known += 1;
            }
        }
        assert!(input.tokens.iter().filter(|token| token.special).all(|t| processor.vocabulary().kind(t.id).is_none()));
        found.push(known);
    }
    assert!(found[0] >= 10 && found.iter().sum::<usize>() > found[0], "{found:?}");
    assert_eq!(BERT.read(text, None), Some(encode(text).ids().collect()));
    assert_eq!(BERT.name(encode("").tokens[0].id).as_deref(), Some("[CLS]"));
}
