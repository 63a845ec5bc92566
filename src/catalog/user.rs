//! A user's own catalog file: entries to add, and values to change in the built-in ones.
//!
//! The file has the built-in catalog's form: `[[gpu]]`, `[[instance]]` and `[[model]]`. An entry with the name of a built-in one (and, for an instance, its
//! provider) changes the values it gives and keeps the others; any other entry is new and has to be complete. Every entry says its `source` and
//! `date` itself: a changed number must not hide behind the source of the old one.

use std::fs::File;
use std::io::Read;
use std::path::Path;

use serde::de::DeserializeOwned;
use toml::{Table, Value};

use super::{CLOUDS, Catalog, GPUS, GpuModel, Instance, MODELS, ModelRow, Pricing};
use crate::error::{Error, Result};

/// No catalog written by people is larger; a larger file is something else.
const LARGEST_FILE: u64 = 4 << 20;

impl Catalog {
    /// The built-in catalog with the user's file at `path` laid over it.
    ///
    /// # Errors
    /// [`Error::File`] when it cannot be read, [`Error::Content`] naming the entry and the key that is wrong.
    pub fn with_file(path: &Path) -> Result<Self> {
        let failed = |source| Error::File { doing: "reading", path: path.to_owned(), source, remedy: "check the path and its permissions" };
        let mut bytes = Vec::new();
        File::open(path).and_then(|file| file.take(LARGEST_FILE + 1).read_to_end(&mut bytes)).map_err(failed)?;
        let wrong = |why: String| malformed(path, why);
        if bytes.len() as u64 > LARGEST_FILE {
            return Err(wrong(format!("expected a catalog of at most {} MiB but found a larger file", LARGEST_FILE >> 20)));
        }
        let text = String::from_utf8(bytes).map_err(|_| wrong("expected UTF-8 text but found other bytes".to_owned()))?;
        Self::embedded()?.with_text(&text, path)
    }

    /// This catalog with the entries of `text`, in the form of a user's file, laid over it; `path` is for errors.
    ///
    /// # Errors
    /// [`Error::Content`] naming the entry and the key that is wrong.
    pub fn with_text(self, text: &str, path: &Path) -> Result<Self> {
        self.overlaid(text).map_err(|why| malformed(path, why))
    }

    /// This catalog with the entries of `text` laid over it; what is wrong with them, otherwise.
    fn overlaid(mut self, text: &str) -> std::result::Result<Self, String> {
        let file: Table = toml::from_str(text).map_err(|error| one_line(&error.to_string()))?;
        for (key, value) in file {
            let rows = rows(&key, value)?;
            match key.as_str() {
                "gpu" => lay_over(&mut self.gpus, &GPUS_KIND, rows)?,
                "model" => lay_over(&mut self.models, &MODELS_KIND, rows)?,
                "instance" => lay_over(&mut self.instances, &INSTANCES_KIND, rows)?,
                _ => return Err(format!("expected [[gpu]], [[instance]] or [[model]] entries but found {key:?}")),
            }
        }
        if let Some(stray) = self.instances.iter().find(|instance| self.gpu_of(instance).is_err()) {
            return Err(format!("instance {:?}: no GPU in the catalog is called {:?}", stray.name, stray.gpu));
        }
        Ok(self)
    }
}

fn malformed(path: &Path, why: String) -> Error {
    Error::Content { path: path.to_owned(), why, remedy: "correct the catalog file".to_owned() }
}

/// How one kind of entry is told apart, and where its built-in ones stand.
struct Kind<T> {
    key: &'static str,
    builtin: &'static str,
    /// What identifies an entry.
    identity: &'static [&'static str],
    /// Whether a row means this entry.
    is: fn(&T, &Table) -> bool,
    /// What is impossible about an entry.
    wrong: fn(&T) -> Option<String>,
}

const GPUS_KIND: Kind<GpuModel> =
    Kind { key: "gpu", builtin: GPUS, identity: &["name"], is: |gpu, row| text(row, "name") == Some(&gpu.name), wrong: GpuModel::wrong };

const INSTANCES_KIND: Kind<Instance> = Kind {
    key: "instance",
    builtin: CLOUDS,
    identity: &["provider", "name"],
    // The written guide's entries stay as they are: they are what it says.
    // A spot price stands beside the other, and an entry means it only where it says so.
    is: |instance, row| {
        let spot = text(row, "pricing") == Some("spot");
        let alike = !instance.is_guide() && spot == (instance.pricing == Pricing::Spot);
        alike && text(row, "provider") == Some(&instance.provider) && text(row, "name") == Some(&instance.name)
    },
    wrong: Instance::wrong,
};

const MODELS_KIND: Kind<ModelRow> = Kind {
    key: "model",
    builtin: MODELS,
    identity: &["name"],
    is: |model, row| text(row, "name") == Some(&model.name),
    // A configuration is judged where the model is made of it, by everything that a model has to be.
    wrong: |_| None,
};

fn text<'a>(row: &'a Table, key: &str) -> Option<&'a str> {
    row.get(key).and_then(Value::as_str)
}

fn rows(key: &str, value: Value) -> std::result::Result<Vec<Table>, String> {
    let wrong = || format!("expected [[{key}]] entries but found something else under that name");
    let Value::Array(values) = value else { return Err(wrong()) };
    values.into_iter().map(|value| if let Value::Table(row) = value { Ok(row) } else { Err(wrong()) }).collect()
}

fn lay_over<T: DeserializeOwned>(entries: &mut Vec<T>, kind: &Kind<T>, rows: Vec<Table>) -> std::result::Result<(), String> {
    /// More than anybody writes; each is looked for among all others.
    const MOST: usize = 10_000;
    if rows.len() > MOST {
        return Err(format!("expected at most {MOST} [[{}]] entries but found {}", kind.key, rows.len()));
    }
    // Parsed for the first entry that needs them, and only once: they are many.
    let mut written = None;
    for mut row in rows {
        let Some(name) = text(&row, "name").map(str::to_owned) else {
            return Err(format!("a [[{}]] entry: expected a name but found none", kind.key));
        };
        let here = format!("{} {name:?}", kind.key);
        for key in kind.identity.iter().chain(&["source", "date"]) {
            if let Some(Value::Datetime(date)) = row.get(*key) {
                let date = date.to_string();
                row.insert((*key).to_owned(), Value::String(date));
            }
            if text(&row, key).is_none_or(|text| text.trim().is_empty()) {
                return Err(format!("{here}: expected a text for {key:?} but found none"));
            }
        }
        let place = entries.iter().position(|entry| (kind.is)(entry, &row));
        let known = place.and_then(|_| builtin(kind, &row, written.get_or_insert_with(|| as_written(kind))));
        let whole = match known {
            Some(mut whole) => {
                whole.extend(row);
                whole
            }
            None => row,
        };
        let entry: T = whole.try_into().map_err(|error: toml::de::Error| format!("{here}: {}", one_line(error.message())))?;
        if let Some(why) = (kind.wrong)(&entry) {
            return Err(format!("{here}: {why}"));
        }
        match place {
            Some(place) => entries[place] = entry,
            None => entries.push(entry),
        }
    }
    Ok(())
}

/// The built-in entries as they are written.
fn as_written<T>(kind: &Kind<T>) -> Vec<Table> {
    let file: Table = toml::from_str(kind.builtin).unwrap_or_default();
    let Some(Value::Array(values)) = file.get(kind.key) else { return Vec::new() };
    values.iter().filter_map(Value::as_table).cloned().collect()
}

/// The one of them that `row` changes.
fn builtin<T: DeserializeOwned>(kind: &Kind<T>, row: &Table, written: &[Table]) -> Option<Table> {
    let same = |table: &&Table| {
        // The same test as for the parsed entry, so that the guide's entries are passed over here, too.
        let is = |table: &Table| table.clone().try_into().is_ok_and(|entry: T| (kind.is)(&entry, row));
        kind.identity.iter().all(|key| text(table, key) == text(row, key)) && is(table)
    };
    written.iter().find(same).cloned()
}

/// A parser's message, which spans lines and draws, on one.
fn one_line(message: &str) -> String {
    let lines = message.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('|') && !line.contains(" | "));
    lines.collect::<Vec<_>>().join(": ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::units::{Bytes, Usd};

    fn over(text: &str) -> std::result::Result<Catalog, String> {
        Catalog::embedded().unwrap().overlaid(text)
    }

    const SOURCED: &str = "source = \"our quote\"\ndate = 2026-11-01\n";

    #[test]
    fn thousands_of_entries_are_taken_and_more_are_refused() {
        let entry = format!("[[gpu]]\nname = \"NVIDIA H200\"\ntdp_w = 650\n{SOURCED}");
        let catalog = over(&entry.repeat(1_000)).unwrap();
        assert_eq!(catalog.gpu("H200 SXM").unwrap().tdp().value.value(), 650.0);
        assert_eq!(over(&entry.repeat(10_001)).unwrap_err(), "expected at most 10000 [[gpu]] entries but found 10001");
    }

    #[test]
    fn an_entry_of_a_known_name_changes_what_it_says_and_keeps_the_rest() {
        let catalog = over(&format!("[[gpu]]\nname = \"NVIDIA H200\"\ntdp_w = 650\n{SOURCED}")).unwrap();
        let (before, after) = (Catalog::embedded().unwrap(), catalog.gpu("H200 SXM").unwrap());
        assert_eq!(after.tdp().value.value(), 650.0);
        assert_eq!(after.bandwidth().value, before.gpu("H200 SXM").unwrap().bandwidth().value);
        assert_eq!((after.source.as_str(), after.date.as_str()), ("our quote", "2026-11-01"));
        assert_eq!(catalog.gpus.len(), before.gpus.len());
    }

    #[test]
    fn a_price_of_ones_own_replaces_the_lists_and_never_the_guides() {
        let text = format!("[[instance]]\nprovider = \"AWS\"\nname = \"p5.48xlarge\"\nusd_per_hour = 31.5\nas_of = \"2026-11\"\n{SOURCED}");
        let catalog = over(&text).unwrap();
        assert_eq!(catalog.instance("aws:p5.48xlarge").unwrap().price_per_hour().value, Usd(31.5));
        let guide = catalog.instances.iter().find(|instance| instance.name == "p5.48xlarge" && instance.is_guide()).unwrap();
        assert_eq!(guide.price_per_hour().value, Usd(98.32));
    }

    #[test]
    fn a_new_entry_is_found_like_any_other() {
        let text = format!(
            "[[instance]]\nprovider = \"basement\"\nname = \"node 1\"\ngpu = \"RTX 3090\"\ngpus = 4\nusd_per_hour = 0.9\n\
             pricing = \"on_demand\"\nas_of = \"2026-11\"\nprice_confidence = \"confirmed\"\n{SOURCED}"
        );
        let catalog = over(&text).unwrap();
        let found = catalog.instance("basement:node-1").unwrap();
        assert_eq!(catalog.gpu_of(found).unwrap().capacity().value, Bytes::mib(24_576));
    }

    #[test]
    fn a_model_of_ones_own_stands_among_the_others() {
        let config = "{ model_type = \"llama\", hidden_size = 256, intermediate_size = 512, num_hidden_layers = 2, num_attention_heads = 4, vocab_size = 1000 }";
        let text = format!("[[model]]\nname = \"ours-tiny\"\nconfig = {config}\nconfidence = \"confirmed\"\n{SOURCED}");
        let catalog = over(&text).unwrap();
        assert_eq!(crate::workload::named(&catalog, "ours tiny").unwrap().text.hidden, 256);
    }

    #[test]
    fn what_is_wrong_is_said_with_its_entry_on_one_line() {
        let gpu = "[[gpu]]\nname = \"NVIDIA H200\"\n";
        for (text, said) in [
            ("[[gpu]\n", "TOML parse error at line 1, column 7"),
            ("[[gpus]]\n", r#"expected [[gpu]], [[instance]] or [[model]] entries but found "gpus""#),
            ("gpu = 4\n", "expected [[gpu]] entries but found something else"),
            ("[[gpu]]\ntdp_w = 1\n", "a [[gpu]] entry: expected a name but found none"),
            (&format!("{gpu}tdp_w = 650\n"), r#"gpu "NVIDIA H200": expected a text for "source" but found none"#),
            (&format!("{gpu}tpd_w = 650\n{SOURCED}"), r#"gpu "NVIDIA H200": unknown field `tpd_w`"#),
            (&format!("{gpu}tdp_w = \"much\"\n{SOURCED}"), r#"gpu "NVIDIA H200": invalid type: string "much", expected f64"#),
            (&format!("{gpu}tdp_w = nan\n{SOURCED}"), r#"gpu "NVIDIA H200": expected tdp_w of 0 to 1e9 but found NaN"#),
            (&format!("[[gpu]]\nname = \"ours\"\n{SOURCED}"), r#"gpu "ours": missing field"#),
            (
                &format!("[[instance]]\nprovider = \"AWS\"\nname = \"p5.48xlarge\"\nusd_per_hour = -1\n{SOURCED}"),
                r#"instance "p5.48xlarge": expected usd_per_hour of 0 to 1e9 but found -1"#,
            ),
            (
                &format!("[[instance]]\nprovider = \"AWS\"\nname = \"p5.48xlarge\"\ngpu = \"H1000\"\n{SOURCED}"),
                r#"instance "p5.48xlarge": no GPU in the catalog is called "H1000""#,
            ),
        ] {
            let why = over(text).unwrap_err();
            assert!(why.contains(said) && why.lines().count() == 1, "{why}\nexpected {said}");
        }
    }

    #[test]
    fn a_huge_or_deep_or_binary_file_is_refused_soon() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("catalog.toml");
        let refused = |content: &[u8]| {
            std::fs::write(&path, content).unwrap();
            let error = Catalog::with_file(&path).unwrap_err();
            assert_eq!(error.exit_code(), 2);
            error.to_string()
        };
        assert!(refused(&vec![b'#'; 100_000_000]).contains("at most 4 MiB"));
        assert!(refused(&[0xff, 0xfe]).contains("UTF-8"));
        assert!(refused("x = [".repeat(200_000).as_bytes()).starts_with("reading "));
        assert!(refused(format!("x = {}", "[".repeat(1_000_000)).as_bytes()).starts_with("reading "));
        let absent = Catalog::with_file(&folder.path().join("absent.toml")).unwrap_err();
        assert!(absent.to_string().contains("check the path"), "{absent}");
    }

    #[test]
    fn nothing_typed_makes_it_panic() {
        let builtin = Catalog::embedded().unwrap();
        let typed = "(\\[\\[(gpu|instance|model)\\]\\]\n)?(name = \"[A-Z0-9 ]{0,9}\"\n)?[a-z_]{1,12} = [-0-9a-z\\[\\]{}\".]{0,20}\n";
        proptest::proptest!(|(text in typed)| {
            let _ = builtin.clone().overlaid(&text);
        });
    }
}
