//! Tests of downloads against the fake hub.

use std::path::Path;
use std::time::Duration;

use super::fake::{COMMIT, FakeHub, Reply, lock};
use super::*;
use crate::hub::{ModelFolder, Secret, folder};

const INDEX: &str = r#"{"weight_map": {"a": "m-1.safetensors", "b": "m-2.safetensors"}}"#;

/// A few hundred bytes that are a real safetensors file.
fn weights() -> Vec<u8> {
    let values: Vec<u8> = (0..64u8).flat_map(|value| f32::from(value).to_le_bytes()).collect();
    let view = safetensors::tensor::TensorView::new(safetensors::Dtype::F32, vec![8, 8], &values).unwrap();
    safetensors::serialize([("w", view)], None).unwrap()
}

fn model() -> FakeHub {
    FakeHub::start(&[
        ("config.json", b"{}"),
        ("tokenizer.json", b"{\"version\": 1}"),
        ("README.md", b"#"),
        ("model.safetensors", &weights()),
    ])
}

fn options(hub: &FakeHub, cache: &Path) -> HubOptions {
    HubOptions {
        cache: cache.to_owned(),
        endpoint: hub.hub.url(),
        token: Some(Secret::new("hf_secret".to_owned())),
        offline: false,
        deadline: Duration::from_secs(60),
        progress: false,
    }
}

fn get(id: &str, revision: &str, options: &HubOptions) -> Result<ModelFolder, HubError> {
    let snapshot = fetch_with_pause((id, None), revision, options, Duration::ZERO)?;
    folder::read(&snapshot.folder, id.to_owned(), Some(snapshot.commit), folder::Kept::Immutable)
}

fn main(options: &HubOptions) -> Result<ModelFolder, HubError> {
    get("org/name", "main", options)
}

fn bytes(model: &ModelFolder) -> Vec<u8> {
    let bytes = model.bytes("model.safetensors").unwrap();
    bytes.range(0..bytes.len()).unwrap().into_owned()
}

fn failure(result: Result<ModelFolder, HubError>) -> DownloadError {
    match result {
        Err(HubError::Download { why, .. }) => why,
        other => panic!("not a failed download: {other:?}"),
    }
}

#[test]
fn a_model_arrives_whole_and_the_token_stays_with_the_hub() {
    let (hub, cache) = (model(), tempfile::tempdir().unwrap());
    let model = main(&options(&hub, cache.path())).unwrap();
    assert_eq!(model.revision.as_deref(), Some(COMMIT));
    assert_eq!(model.files.keys().collect::<Vec<_>>(), ["config.json", "model.safetensors", "tokenizer.json"]);
    assert_eq!(bytes(&model), weights());
    let root = cache.path().join("models--org--name");
    assert_eq!(std::fs::read_to_string(root.join("refs/main")).unwrap(), COMMIT);
    assert!(root.join("blobs").join(&model.sha256).is_file(), "the blob is named by its hash");

    let asked = hub.hub.take();
    assert!(asked.iter().all(|request| request.headers["authorization"] == "Bearer hf_secret"));
    let stored = hub.store.take();
    assert!(!stored.is_empty() && stored.iter().all(|request| !request.headers.contains_key("authorization")));
}

#[test]
fn what_is_cached_is_not_fetched_again() {
    let (hub, cache) = (model(), tempfile::tempdir().unwrap());
    let options = options(&hub, cache.path());
    main(&options).unwrap();
    hub.hub.take();
    hub.store.take();
    main(&options).unwrap();
    assert_eq!(hub.hub.take().len(), 1, "the listing alone");
    get("org/name", COMMIT, &options).unwrap();
    assert!(hub.hub.take().is_empty() && hub.store.take().is_empty(), "a commit never changes");
    // Another snapshot of the same content: the etags are unchanged, so the blobs serve.
    std::fs::remove_dir_all(cache.path().join("models--org--name/snapshots")).unwrap();
    main(&options).unwrap();
    assert!(hub.store.take().is_empty());
    assert!(hub.hub.take().iter().all(|request| request.method == "HEAD" || request.path.starts_with("/api/")));
}

#[test]
fn an_interrupted_download_goes_on_where_it_stopped() {
    let (hub, cache) = (model(), tempfile::tempdir().unwrap());
    let half = weights().len() / 2;
    lock(&hub.repo).cut = Some(("model.safetensors".to_owned(), half));
    let model = main(&options(&hub, cache.path())).unwrap();
    assert_eq!(bytes(&model), weights());
    let ranges: Vec<_> = hub.store.take().iter().map(|request| request.headers.get("range").cloned()).collect();
    assert_eq!(ranges, [None, Some(format!("bytes={half}-"))]);
}

#[test]
fn a_later_start_takes_up_what_an_earlier_one_left() {
    let (hub, cache) = (model(), tempfile::tempdir().unwrap());
    let all = weights();
    let blobs = cache.path().join("models--org--name/blobs");
    std::fs::create_dir_all(&blobs).unwrap();
    let hash = folder::hex(&<sha2::Sha256 as sha2::Digest>::digest(&all));
    std::fs::write(blobs.join(format!("{hash}.incomplete")), &all[..100]).unwrap();
    assert_eq!(main(&options(&hub, cache.path())).unwrap().sha256, hash);
    assert_eq!(hub.store.take()[0].headers["range"], "bytes=100-");
}

#[test]
fn a_damaged_download_fails_and_the_next_one_works() {
    for (file, of_store) in [("model.safetensors", true), ("config.json", false)] {
        let (hub, cache) = (model(), tempfile::tempdir().unwrap());
        lock(&hub.repo).corrupt = Some(file.to_owned());
        let options = options(&hub, cache.path());
        let why = failure(main(&options));
        assert!(matches!(&why, DownloadError::Damaged { file: named, .. } if named == file), "{why}");
        assert!(!cache.path().join("models--org--name/snapshots").join(COMMIT).join(file).exists());
        let model = main(&options).unwrap();
        assert_eq!(bytes(&model), weights());
        assert!(!of_store || hub.store.take().len() == 2);
    }
}

#[test]
fn refusals_say_what_to_do() {
    let (hub, cache) = (model(), tempfile::tempdir().unwrap());
    let with_token = options(&hub, cache.path());
    let without = HubOptions { token: None, ..with_token.clone() };
    let answer = |options: &HubOptions, status: u16, code: &str| {
        lock(&hub.repo).instead = Some(Reply::status(status, code));
        failure(main(options))
    };
    assert!(matches!(answer(&without, 401, "RepoNotFound"), DownloadError::Unauthorized));
    assert!(answer(&without, 401, "").to_string().contains("HF_TOKEN"));
    assert!(matches!(answer(&with_token, 401, ""), DownloadError::BadToken));
    assert!(answer(&with_token, 403, "GatedRepo").to_string().contains("ask for access"));
    assert!(answer(&without, 401, "GatedRepo").to_string().contains("ask for access"));
    assert!(matches!(answer(&with_token, 403, ""), DownloadError::Forbidden { .. }));
    assert!(matches!(answer(&with_token, 503, ""), DownloadError::Server { status: 503, .. }));
    assert!(matches!(answer(&with_token, 429, ""), DownloadError::RateLimited { .. }));
    assert!(matches!(answer(&with_token, 418, ""), DownloadError::Protocol { .. }));
    let asked = hub.hub.take();
    assert!(!format!("{:?}", answer(&with_token, 401, "")).contains("hf_secret"));
    assert_eq!(asked.len(), 7 + 2 * client::TRIES as usize, "only 429 and 503 are asked again");
}

#[test]
fn a_passing_error_is_tried_again() {
    let (hub, cache) = (model(), tempfile::tempdir().unwrap());
    lock(&hub.repo).instead = Some(Reply::status(503, ""));
    lock(&hub.repo).times = Some(2);
    assert!(main(&options(&hub, cache.path())).is_ok());
}

#[test]
fn model_revision_and_file_are_told_apart_when_missing() {
    let (hub, cache) = (model(), tempfile::tempdir().unwrap());
    let options = options(&hub, cache.path());
    assert!(matches!(failure(get("org/other", "main", &options)), DownloadError::NoModel { .. }));
    let why = failure(get("org/name", "v9", &options));
    assert!(matches!(&why, DownloadError::NoRevision { revision } if revision == "v9"), "{why}");
    lock(&hub.repo).files.remove("config.json");
    assert!(matches!(failure(main(&options)), DownloadError::NoFile { file } if file == "config.json"));
    lock(&hub.repo).files.remove("model.safetensors");
    assert!(matches!(failure(main(&options)), DownloadError::NoFile { file } if file == "model.safetensors"));
}

#[test]
fn a_pickle_is_refused_before_anything_is_fetched() {
    for no_listing in [false, true] {
        let hub = FakeHub::start(&[("config.json", b"{}"), ("pytorch_model.bin", b"x")]);
        lock(&hub.repo).no_listing = no_listing;
        let cache = tempfile::tempdir().unwrap();
        let error = main(&options(&hub, cache.path())).unwrap_err();
        assert!(matches!(&error, HubError::Pickle { file, .. } if file == "pytorch_model.bin"), "{error}");
        assert!(hub.hub.take().iter().all(|request| request.method == "HEAD" || request.path.starts_with("/api/")));
    }
}

#[test]
fn offline_reads_the_cache_and_says_what_it_lacks() {
    let (hub, cache) = (model(), tempfile::tempdir().unwrap());
    let online = options(&hub, cache.path());
    let offline = HubOptions { offline: true, ..online.clone() };
    let why = failure(main(&offline));
    assert!(matches!(&why, DownloadError::Offline { file, .. } if file == "config.json"), "{why}");
    main(&online).unwrap();
    hub.hub.take();
    assert!(main(&offline).is_ok() && get("org/name", COMMIT, &offline).is_ok());
    std::fs::remove_file(cache.path().join("models--org--name/snapshots").join(COMMIT).join("model.safetensors"))
        .unwrap();
    assert!(failure(main(&offline)).to_string().contains("model.safetensors"));
    assert!(hub.hub.take().is_empty());
}

#[test]
fn a_cached_model_serves_while_the_hub_is_away() {
    let (hub, cache) = (model(), tempfile::tempdir().unwrap());
    let options = options(&hub, cache.path());
    main(&options).unwrap();
    drop(hub);
    assert!(main(&options).is_ok());
    assert!(matches!(failure(get("org/other", "main", &options)), DownloadError::Unreachable { .. }));
}

#[test]
fn sharded_models_arrive_with_all_shards() {
    let hub = FakeHub::start(&[
        ("config.json", b"{}"),
        ("model.safetensors.index.json", INDEX.as_bytes()),
        ("m-1.safetensors", b"one"),
        ("m-2.safetensors", b"two"),
    ]);
    let cache = tempfile::tempdir().unwrap();
    let options = options(&hub, cache.path());
    assert_eq!(main(&options).unwrap().weights, ["m-1.safetensors", "m-2.safetensors"]);
    let other = tempfile::tempdir().unwrap();
    lock(&hub.repo).files.remove("m-2.safetensors");
    let why = failure(main(&HubOptions { cache: other.path().to_owned(), ..options }));
    assert!(matches!(&why, DownloadError::NoFile { file } if file == "m-2.safetensors"), "{why}");
}

#[test]
fn a_hub_without_listing_or_head_and_a_renamed_model_work_too() {
    let (hub, cache) = (model(), tempfile::tempdir().unwrap());
    lock(&hub.repo).no_listing = true;
    lock(&hub.repo).no_head = true;
    let options = options(&hub, cache.path());
    assert_eq!(main(&options).unwrap().files.len(), 3);
    assert_eq!(get("old/name", "v1", &options).unwrap().files.len(), 3);
    lock(&hub.repo).no_listing = false;
    assert_eq!(get("org/name", "refs/pr/1", &options).unwrap().revision.as_deref(), Some(COMMIT));
    assert!(matches!(failure(get("org/no", "main", &options)), DownloadError::NoModel { .. }));
}

#[test]
fn the_deadline_holds_against_a_silent_hub() {
    let (hub, cache) = (model(), tempfile::tempdir().unwrap());
    lock(&hub.repo).instead = Some(Reply { stall: true, ..Reply::default() });
    let options = HubOptions { deadline: Duration::from_millis(50), ..options(&hub, cache.path()) };
    assert!(matches!(failure(main(&options)), DownloadError::Deadline { .. }));
}

#[test]
fn a_second_process_waits_for_the_first() {
    let (hub, cache) = (model(), tempfile::tempdir().unwrap());
    let options = options(&hub, cache.path());
    let results: Vec<_> = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..4).map(|_| scope.spawn(|| main(&options).map(|model| model.sha256))).collect();
        threads.into_iter().map(|thread| thread.join().unwrap().unwrap()).collect()
    });
    assert!(results.iter().all(|hash| *hash == results[0]));
    assert_eq!(hub.store.take().len(), 1, "the weights were fetched once");
}

#[test]
fn hostile_answers_stay_in_the_cache() {
    let (hub, cache) = (model(), tempfile::tempdir().unwrap());
    let options = options(&hub, cache.path());
    let body = br#"{"sha": "../../x", "siblings": []}"#.to_vec();
    lock(&hub.repo).instead = Some(Reply { status: 200, body, ..Reply::default() });
    assert!(matches!(failure(main(&options)), DownloadError::Protocol { .. }));
    lock(&hub.repo).no_listing = true;
    let headers = vec![("etag", "../../x".to_owned()), ("x-repo-commit", COMMIT.to_owned())];
    lock(&hub.repo).instead = Some(Reply { status: 200, headers, body: b"{}".to_vec(), ..Reply::default() });
    assert!(matches!(failure(main(&options)), DownloadError::Protocol { .. }));
    let around = vec![("location", "/x".to_owned())];
    lock(&hub.repo).instead = Some(Reply { status: 302, headers: around, ..Reply::default() });
    assert!(failure(main(&options)).to_string().contains("circles"));
}

#[test]
fn an_endpoint_that_is_no_address_is_named() {
    let (hub, cache) = (model(), tempfile::tempdir().unwrap());
    let options = HubOptions { endpoint: "huggingface.co".to_owned(), ..options(&hub, cache.path()) };
    assert!(failure(main(&options)).to_string().contains("huggingface.co"));
}

/// One file of many, without config.json: nothing else is fetched, and offline it is found again.
#[test]
fn a_gguf_file_is_fetched_by_its_name() {
    let (hub, cache) = (
        FakeHub::start(&[("a.gguf", b"GGUF a"), ("b.gguf", b"GGUF b"), ("README.md", b"#")]),
        tempfile::tempdir().unwrap(),
    );
    let online = options(&hub, cache.path());
    let get = |file: Option<&str>, options: &HubOptions| {
        let snapshot = fetch_with_pause(("org/name", file), "main", options, Duration::ZERO)?;
        let path = file.iter().fold(snapshot.folder, |folder, file| folder.join(file));
        folder::read(&path, "org/name".to_owned(), Some(snapshot.commit), folder::Kept::Immutable)
    };
    let why = failure(get(None, &online));
    assert!(matches!(&why, DownloadError::SeveralGguf { files } if files == "a.gguf, b.gguf"), "{why}");
    let model = get(Some("b.gguf"), &online).unwrap();
    assert_eq!((&model.weights, model.files.len()), (&vec!["b.gguf".to_owned()], 1));
    let offline = HubOptions { offline: true, ..online.clone() };
    assert_eq!(get(Some("b.gguf"), &offline).unwrap().sha256, model.sha256);
    assert!(failure(get(Some("a.gguf"), &offline)).to_string().contains("a.gguf"));
    let missing = failure(get(Some("c.gguf"), &online));
    assert!(matches!(&missing, DownloadError::NoFile { file } if file == "c.gguf"), "{missing}");
    // Of a model with one such file it need not be named.
    lock(&hub.repo).files.remove("a.gguf");
    let other = tempfile::tempdir().unwrap();
    assert_eq!(get(None, &options(&hub, other.path())).unwrap().sha256, model.sha256);
}
