//! Digests and signatures of result files: no byte of a signed file changes unseen.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod common;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use common::{in_parallel, stderr, stdout};
use gpu_assay::record::{Found, PublicKey, Run, Seal, SigningKey};
use gpu_assay::stats::SplitMix64;

/// Made by `openssl genpkey -algorithm ed25519` for these tests, and its public half by `openssl pkey -pubout`.
const KEY: &str = "-----BEGIN PRIVATE KEY-----
MC4CAQAwBQYDK2VwBCIEIHFAdM2noSh6yPZeToonlRiMr6pV5reMLquAaLLp9xIN
-----END PRIVATE KEY-----
";
const SEED: &str = "714074cda7a1287ac8f65e4e8a2795188cafaa55e6b78c2eab8068b2e9f7120d";
const PUBLIC_PEM: &str = "-----BEGIN PUBLIC KEY-----
MCowBQYDK2VwAyEAK9dV6CUQ7GBDnDorWuHO0eZ3iDsuqRB/1H7Ij1UHlUM=
-----END PUBLIC KEY-----
";
const PUBLIC: &str = "2bd755e82510ec60439c3a2b5ae1ced1e677883b2ea9107fd47ec88f55079543";
const OTHER_SEED: &str = "0000000000000000000000000000000000000000000000000000000000000001";

struct Bench {
    folder: tempfile::TempDir,
}

impl Bench {
    fn new() -> Self {
        let bench = Self { folder: tempfile::tempdir().unwrap() };
        fs::write(bench.path("key.pem"), KEY).unwrap();
        fs::write(bench.path("key.hex"), SEED).unwrap();
        fs::write(bench.path("other.hex"), format!("{OTHER_SEED}\n")).unwrap();
        fs::write(bench.path("public.pem"), PUBLIC_PEM).unwrap();
        bench
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn key(&self, name: &str) -> SigningKey {
        SigningKey::read(&self.path(name)).unwrap()
    }

    /// A record of the tests' own, signed, as bytes.
    fn signed(&self, run: &Run) -> Vec<u8> {
        let path = self.path("signed.json");
        run.write_signed(&path, &self.key("key.pem")).unwrap();
        fs::read(path).unwrap()
    }

    fn run(&self, arguments: &[&str]) -> Output {
        let mut command = Command::new(env!("CARGO_BIN_EXE_gpu-assay"));
        command.current_dir(self.folder.path()).env("TMPDIR", self.folder.path()).env("HOME", self.folder.path());
        command.arg("--no-progress").args(arguments).output().unwrap()
    }
}

fn recorded(name: &str) -> Run {
    Run::read(&Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/records").join(name)).unwrap()
}

/// A record with one outcome, so that every byte of it can be tried.
fn small() -> Run {
    let mut run = recorded("small-vm.json");
    run.outcomes.truncate(1);
    run.machine.libraries.clear();
    run
}

fn is_whole(seal: &Seal) -> bool {
    seal.digest == Found::Right && seal.signature == Found::Right
}

/// Whether nothing about a file is said to be wrong. That its seal is gone does not count as said: damage must not look like age.
fn passes_unseen(file: &[u8]) -> bool {
    let seal = Seal::of(file);
    !matches!(seal.digest, Found::Wrong(_)) && !matches!(seal.signature, Found::Wrong(_))
}

#[test]
fn every_flipped_byte_of_a_signed_record_is_found() {
    let file = Bench::new().signed(&small());
    assert!(is_whole(&Seal::of(&file)));
    let places: Vec<usize> = (0..file.len()).collect();
    let unseen = in_parallel(&places, |&at| {
        let masks = [0x01, 0x02, 0x04, 0x08, 0x10, 0x20, 0x40, 0x80, 0x2a, 0xff];
        let passes = |mask: &u8| {
            let mut damaged = file.clone();
            damaged[at] ^= mask;
            passes_unseen(&damaged)
        };
        masks.into_iter().filter(passes).map(|mask| (at, mask)).collect::<Vec<(usize, u8)>>()
    });
    assert_eq!(unseen.concat(), [], "of {} bytes", file.len());
}

#[test]
fn flipped_bytes_of_a_large_signed_record_are_found() {
    let file = Bench::new().signed(&recorded("h200-standin.json"));
    assert!(is_whole(&Seal::of(&file)) && file.len() > 200_000);
    let seeds: Vec<u64> = (0..500).collect();
    let unseen = in_parallel(&seeds, |&seed| {
        let mut random = SplitMix64(seed);
        let at = (random.uniform() * file.len() as f64) as usize;
        let mut damaged = file.clone();
        damaged[at] ^= 1 << (seed % 8);
        passes_unseen(&damaged).then_some(at)
    });
    assert!(unseen.iter().all(Option::is_none), "{unseen:?}");
}

#[test]
fn a_signed_record_cut_short_or_made_longer_is_found() {
    let file = Bench::new().signed(&small());
    for length in 0..file.len() {
        assert!(!passes_unseen(&file[..length]), "{length} of {} bytes", file.len());
    }
    for more in ["\n", " ", "{}", "\0"] {
        assert!(!passes_unseen(&[&file, more.as_bytes()].concat()), "{more:?}");
    }
    assert!(!passes_unseen(&[b" ", &file[..]].concat()));
}

#[test]
fn a_signature_of_another_record_does_not_fit() {
    let bench = Bench::new();
    let mut run = small();
    bench.signed(&run);
    run = Run::read(&bench.path("signed.json")).unwrap();
    assert_eq!(Run::from_json(&run.to_json().unwrap(), Path::new("x")).unwrap(), run, "a copy keeps its signature");
    run.started.push('0');
    let changed = run.to_json().unwrap();
    assert_eq!(Seal::of(changed.as_bytes()), Seal { digest: Found::Right, signature: Found::Absent, signed_by: None });
}

#[test]
fn keys_of_every_form_are_the_same_key() {
    let bench = Bench::new();
    let public = PublicKey::parse(PUBLIC).unwrap();
    assert_eq!(bench.key("key.pem").public(), public);
    assert_eq!(bench.key("key.hex").public(), public);
    assert_eq!(PublicKey::given(bench.path("public.pem").to_str().unwrap()).unwrap(), public);
    assert_eq!(public.to_string(), PUBLIC);
    assert!(PublicKey::parse(&PUBLIC.to_uppercase()).is_none(), "a key is written in one way");
    assert!(SigningKey::read(&bench.path("public.pem")).is_err());
}

#[test]
fn verify_says_what_it_found_by_its_exit_code() {
    let bench = Bench::new();
    small().write_signed(&bench.path("mine.json"), &bench.key("key.pem")).unwrap();
    small().write_signed(&bench.path("other.json"), &bench.key("other.hex")).unwrap();
    small().write(&bench.path("unsigned.json")).unwrap();
    fs::write(bench.path("old.json"), serde_json::to_string_pretty(&small()).unwrap() + "\n").unwrap();
    let edited = fs::read_to_string(bench.path("mine.json")).unwrap().replacen("\"seed\": ", "\"seed\": 1", 1);
    fs::write(bench.path("edited.json"), edited).unwrap();

    let code = |arguments: &[&str]| bench.run(&[&["verify"], arguments].concat()).status.code();
    assert_eq!(code(&["mine.json", "other.json", "unsigned.json"]), Some(0));
    assert_eq!(code(&["mine.json", "--key", PUBLIC]), Some(0));
    assert_eq!(code(&["mine.json", "--key", "public.pem"]), Some(0));
    assert_eq!(code(&["mine.json", "other.json", "--key", PUBLIC]), Some(1), "another key signed it");
    assert_eq!(code(&["unsigned.json", "--key", PUBLIC]), Some(5));
    assert_eq!(code(&["old.json"]), Some(5));
    assert_eq!(code(&["edited.json"]), Some(1));
    assert_eq!(code(&["old.json", "edited.json", "old.json"]), Some(1), "what is wrong outweighs what is absent");
    assert_eq!(code(&["absent.json"]), Some(2));
    assert_eq!(code(&["mine.json", "--key", "key.pem"]), Some(2), "no public key");

    let output = bench.run(&["verify", "mine.json", "edited.json", "--format", "json"]);
    let said: serde_json::Value = serde_json::from_str(&stdout(&output)).unwrap();
    let row = |verdict: &str, digest: &str, signature: &str, file: &str| serde_json::json!({ "file": file, "verdict": verdict, "digest": digest, "signature": signature, "signed_by": PUBLIC });
    let wrong = row("wrong", "wrong: the content has another", "wrong: it is not this key's for this content", "edited.json");
    assert_eq!(said["rows"], serde_json::json!([row("right", "right", "right", "mine.json"), wrong]));
}

#[test]
fn a_measurement_is_signed_when_it_is_done() {
    let machine = common::Bench::text(include_str!("scenarios/sweep.toml"));
    fs::write(machine.folder.path().join("key.pem"), KEY).unwrap();
    fs::write(machine.folder.path().join("public.pem"), PUBLIC_PEM).unwrap();
    let measure = ["measure", "launch", "--effort", "quick", "--time", "20 ms", "-o", "r.json", "--sign"];
    let output = machine.run(&[&measure[..], &["key.pem"]].concat());
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    assert_eq!(machine.run(&["verify", "r.json", "--key", PUBLIC]).status.code(), Some(0));

    fs::remove_file(machine.result()).unwrap();
    let output = machine.run(&[&measure[..], &["public.pem"]].concat());
    assert_eq!(output.status.code(), Some(2));
    assert!(stderr(&output).contains("expected an Ed25519 private key"), "{}", stderr(&output));
    assert!(!machine.result().exists(), "nothing is measured with a key that is none");
}

#[test]
fn published_records_are_what_was_written() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("results");
    let list = fs::read_to_string(folder.join("README.md")).unwrap();
    let names = list.split("](").skip(1).filter_map(|rest| rest.split_once(')')).map(|(name, _)| name);
    for name in names.filter(|name| name.ends_with(".json") && *name != "schema.json") {
        assert_eq!(Seal::of(&fs::read(folder.join(name)).unwrap()).digest, Found::Right, "{name}");
    }
}
