//! `verify`: whether result files are what the program wrote, and who signed them.

use std::path::{Path, PathBuf};

use clap::Args;

use super::{Common, Status, print_tables};
use crate::error::Result;
use crate::record::{Found, PublicKey, Seal, bytes_of};
use crate::table::{Cell, Column, Table};

#[derive(Debug, Args)]
pub(super) struct Arguments {
    /// Result files
    #[arg(value_name = "FILE", required = true)]
    files: Vec<PathBuf>,

    /// The public key that must have signed them: 64 hexadecimal digits, or a file with them or with PEM
    #[arg(long, value_name = "PUBLIC")]
    key: Option<String>,
}

pub(super) fn verify(common: &Common, arguments: &Arguments) -> Result<Status> {
    let key = arguments.key.as_deref().map(PublicKey::given).transpose()?;
    let mut table = empty();
    let mut worst = Status::Done;
    for path in &arguments.files {
        let seal = Seal::of(&bytes_of(path)?);
        let status = judge(&seal, key);
        worst = if worst == Status::Fail || status == Status::Done { worst } else { status };
        table.row(row(path, &seal, status));
    }
    if key.is_none() && worst == Status::Done {
        table.note("A right digest finds accidents. Only a signature of a key that you know (--key) finds changes made on purpose.");
    }
    print_tables(&[table], common)?;
    Ok(worst)
}

/// Whether a file is what was written: no where anything is wrong or another key signed it, unknown where what was asked about is absent.
fn judge(seal: &Seal, key: Option<PublicKey>) -> Status {
    let wrong = [&seal.digest, &seal.signature].into_iter().any(|part| matches!(part, Found::Wrong(_)));
    match (key, seal.signed_by) {
        _ if wrong => Status::Fail,
        _ if seal.digest == Found::Absent => Status::Unknown,
        (Some(_), None) => Status::Unknown,
        (Some(key), Some(other)) if key != other => Status::Fail,
        _ => Status::Done,
    }
}

fn empty() -> Table {
    let columns = [
        Column::text("file", "file"),
        Column::text("verdict", "verdict"),
        Column::text("digest", "digest"),
        Column::text("signature", "signature"),
        Column::text("signed_by", "signed by"),
    ];
    Table::new("Seals of result files", columns)
}

fn row(path: &Path, seal: &Seal, status: Status) -> [Cell; 5] {
    let verdict = match status {
        Status::Done => "right",
        Status::Fail => "wrong",
        Status::SomeFailed | Status::Unknown => "unknown",
    };
    let signed_by = seal.signed_by.map_or(Cell::Empty, |key| Cell::text(key.to_string()));
    [
        Cell::text(path.display().to_string()),
        Cell::text(verdict),
        Cell::text(seal.digest.to_string()),
        Cell::text(seal.signature.to_string()),
        signed_by,
    ]
}
