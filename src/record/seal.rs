//! The seal of a result file: a digest over its bytes and, where a key was given, a signature of the digest.
//!
//! A record is worth something to a stranger only while it is what the program wrote. The **digest** is SHA-256 over the file as it would be
//! without its two last fields, `digest` and `signature`; the **signature** (Ed25519) is over the words `gpu-assay record ` and the digest,
//! so that no other use of the key can be passed off as one. A digest alone finds accidents; who changes a file on purpose can change it too.
//!
//! What is examined is the bytes, not their meaning: the end of the file must be, byte for byte, what the program writes for the digest and
//! the signature in it, and everything before that is under the digest. So no byte of a signed file can change unseen, and no other writer
//! of JSON has to agree on spaces or the digits of numbers. Reading a record asks for none of this: people may edit their own files.

use std::fmt::Write as _;
use std::path::Path;

use ed25519_compact as ed25519;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use super::{Run, read_bounded};
use crate::error::{Error, Result};

/// What stands between the last field under the digest and the digest itself.
const MARK: &str = ",\n  \"digest\": \"";

/// How a record ends before it is sealed.
const END: &str = "\n}\n";

/// What a signature's message begins with.
const PURPOSE: &str = "gpu-assay record ";

/// No key file comes near this size.
const MOST_KEY_BYTES: u64 = 64 << 10;

/// Who vouches for a record.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Signature {
    /// The Ed25519 public key, 64 hexadecimal digits.
    pub public_key: String,
    /// The signature of `gpu-assay record ` and the digest, 128 hexadecimal digits.
    pub value: String,
}

/// The two last fields of the file.
#[derive(Serialize, Deserialize)]
struct Tail {
    digest: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    signature: Option<Signature>,
}

impl Tail {
    /// As it continues a record whose end was cut off.
    fn text(&self) -> Option<String> {
        let object = serde_json::to_string_pretty(self).ok()?;
        Some(format!(",{}\n", object.strip_prefix('{')?))
    }

    /// The reverse, of bytes that begin with [`MARK`].
    fn parse(bytes: &[u8]) -> Option<Self> {
        let text = std::str::from_utf8(bytes).ok()?;
        serde_json::from_str(&format!("{{{}", text.strip_prefix(',')?)).ok()
    }
}

/// A key to sign with.
pub struct SigningKey(ed25519::KeyPair);

impl SigningKey {
    /// Read a PKCS#8 file in PEM, as `openssl genpkey -algorithm ed25519` writes it, or the 64 hexadecimal digits of a seed.
    ///
    /// # Errors
    /// [`Error::File`] when it cannot be read; [`Error::Content`] when it is neither.
    pub fn read(path: &Path) -> Result<Self> {
        let text = key_text(path)?;
        let seed = || from_hex(text.trim()).and_then(|seed| ed25519::KeyPair::try_from_seed(ed25519::Seed::new(seed)).ok());
        let pair = ed25519::KeyPair::from_pem(&text).ok().or_else(seed);
        pair.map(Self).ok_or_else(|| Error::Content {
            path: path.to_owned(),
            why: "expected an Ed25519 private key, PKCS#8 in PEM or a seed of 64 hexadecimal digits".to_owned(),
            remedy: "make one with `openssl genpkey -algorithm ed25519 -out FILE`".to_owned(),
        })
    }

    /// Its public half.
    pub fn public(&self) -> PublicKey {
        PublicKey(self.0.pk)
    }

    fn sign(&self, digest: &str) -> Signature {
        let signature = self.0.sk.sign(message(digest), None);
        Signature { public_key: self.public().to_string(), value: hex(&*signature) }
    }
}

/// A key to verify with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PublicKey(ed25519::PublicKey);

impl PublicKey {
    /// The key of 64 hexadecimal digits.
    pub fn parse(digits: &str) -> Option<Self> {
        from_hex(digits).map(|bytes| Self(ed25519::PublicKey::new(bytes)))
    }

    /// The key that `given` says: 64 hexadecimal digits, or the path of a file with them, or with PEM as `openssl pkey -pubout` writes it.
    ///
    /// # Errors
    /// [`Error::File`] when it is no key and no file can be read; [`Error::Content`] when the file holds no public key.
    pub fn given(given: &str) -> Result<Self> {
        if let Some(key) = Self::parse(given) {
            return Ok(key);
        }
        let path = Path::new(given);
        let text = key_text(path)?;
        let pem = ed25519::PublicKey::from_pem(&text).ok().map(Self);
        pem.or_else(|| Self::parse(text.trim())).ok_or_else(|| Error::Content {
            path: path.to_owned(),
            why: "expected an Ed25519 public key, PEM or 64 hexadecimal digits".to_owned(),
            remedy: "take it out of the private key with `openssl pkey -in KEY -pubout`".to_owned(),
        })
    }

    fn verifies(&self, digest: &str, signature: &Signature) -> bool {
        let value = from_hex(&signature.value).map(ed25519::Signature::new);
        value.is_some_and(|value| self.0.verify(message(digest), &value).is_ok())
    }
}

impl std::fmt::Display for PublicKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.pad(&hex(&*self.0))
    }
}

/// What was found of one part of a seal.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Found {
    /// It is there and belongs to the file.
    Right,
    /// It is there, or something is in its place, and does not belong to the file.
    Wrong(&'static str),
    /// The file has none.
    Absent,
}

impl std::fmt::Display for Found {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Right => f.pad("right"),
            Self::Wrong(why) => f.pad(&format!("wrong: {why}")),
            Self::Absent => f.pad("absent"),
        }
    }
}

/// The seal of a file, examined.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Seal {
    /// The digest.
    pub digest: Found,
    /// The signature. Without it known whose the key is, a right one says only that one key's owner wrote all of the file.
    pub signature: Found,
    /// The key that the signature is said to be of.
    pub signed_by: Option<PublicKey>,
}

impl Seal {
    /// Examine the bytes of a file.
    pub fn of(file: &[u8]) -> Self {
        let Some(at) = file.windows(MARK.len()).rposition(|window| window == MARK.as_bytes()) else {
            return Self { digest: without_mark(file), signature: Found::Absent, signed_by: None };
        };
        let (body, end) = file.split_at(at);
        let Some(tail) = Tail::parse(end).filter(|tail| tail.text().is_some_and(|text| text.as_bytes() == end)) else {
            let wrong = Found::Wrong("the file does not end as the program ends it");
            return Self { digest: wrong, signature: Found::Absent, signed_by: None };
        };
        let digest = digest(body);
        let signed_by = tail.signature.as_ref().and_then(|signature| PublicKey::parse(&signature.public_key));
        let signature = match (&tail.signature, signed_by) {
            (None, _) => Found::Absent,
            (Some(signature), Some(key)) if key.verifies(&digest, signature) => Found::Right,
            (Some(_), Some(_)) => Found::Wrong("it is not this key's for this content"),
            (Some(_), None) => Found::Wrong("its public key is none"),
        };
        let digest = if tail.digest == digest { Found::Right } else { Found::Wrong("the content has another") };
        Self { digest, signature, signed_by }
    }
}

/// A file in which no digest stands where the program writes it: an old record has none, anything else has lost it.
fn without_mark(file: &[u8]) -> Found {
    let Ok(serde_json::Value::Object(fields)) = serde_json::from_slice(file) else { return Found::Wrong("the file is no record") };
    let Ok(run) = serde_json::from_value::<Run>(fields.clone().into()) else { return Found::Wrong("the file is no record") };
    let written = serde_json::to_value(Run { digest: None, signature: None, ..run }).unwrap_or_default();
    let unknown = fields.keys().any(|key| written.get(key).is_none() && key != "earlier");
    if unknown { Found::Wrong("the file does not end as the program ends it") } else { Found::Absent }
}

/// The text of an unsealed record with its digest, and with a signature if there is a key or if `kept` still fits.
///
/// # Errors
/// [`Error::Measurement`] should the text not be a record's.
pub(super) fn sealed(text: &str, key: Option<&SigningKey>, kept: Option<&Signature>) -> Result<String> {
    let unfit = || Error::measurement("sealing the record", "its text has an unexpected end");
    let body = text.strip_suffix(END).ok_or_else(unfit)?;
    let digest = digest(body.as_bytes());
    let fits = |signature: &&Signature| PublicKey::parse(&signature.public_key).is_some_and(|key| key.verifies(&digest, signature));
    let signature = key.map(|key| key.sign(&digest)).or_else(|| kept.filter(fits).cloned());
    let tail = Tail { digest, signature }.text().ok_or_else(unfit)?;
    Ok(format!("{body}{tail}"))
}

/// The digest of a file whose content, without its end, is `body`.
fn digest(body: &[u8]) -> String {
    let hash = Sha256::new().chain_update(body).chain_update(END).finalize();
    format!("sha256:{}", hex(&hash))
}

fn message(digest: &str) -> String {
    format!("{PURPOSE}{digest}")
}

fn key_text(path: &Path) -> Result<String> {
    let remedy = "check the path and its permissions";
    let bytes = read_bounded(path, MOST_KEY_BYTES).map_err(|source| Error::File {
        doing: "reading the key",
        path: path.to_owned(),
        source,
        remedy,
    })?;
    Ok(bytes.and_then(|bytes| String::from_utf8(bytes).ok()).unwrap_or_default())
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::with_capacity(2 * bytes.len()), |mut digits, byte| {
        // Writing to a string cannot fail.
        let _ = write!(digits, "{byte:02x}");
        digits
    })
}

/// The bytes that exactly as many lower-case hexadecimal digits say; there is one way to write a key.
fn from_hex<const N: usize>(digits: &str) -> Option<[u8; N]> {
    let lower = |c: u8| c.is_ascii_digit() || (b'a'..=b'f').contains(&c);
    if digits.len() != 2 * N || !digits.bytes().all(lower) {
        return None;
    }
    let mut bytes = [0; N];
    for (byte, pair) in bytes.iter_mut().zip(digits.as_bytes().chunks_exact(2)) {
        *byte = u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok()?;
    }
    Some(bytes)
}
