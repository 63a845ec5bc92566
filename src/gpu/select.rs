//! Which GPUs a person means.
//!
//! A GPU is named by its number in the machine's list, which is CUDA's order under `CUDA_VISIBLE_DEVICES`, or by its UUID or the beginning of
//! it. A number means something on one machine at one moment only, so it is turned into a UUID at once and devices are opened by that.

use crate::error::{Error, Result};

/// The numbers of the GPUs that `text` names, in the order named, each once: `0,2`, `GPU-3f2a…`, or a mix. `uuids` are the machine's, in order.
///
/// # Errors
/// [`Error::Usage`] for a name that fits no GPU or more than one.
///
/// ```
/// use gpu_assay::gpu::select;
/// let uuids = ["GPU-aa11", "GPU-bb22"].map(String::from);
/// assert_eq!(select("1,GPU-aa", &uuids).unwrap(), [1, 0]);
/// assert!(select("2", &uuids).is_err());
/// ```
pub fn select(text: &str, uuids: &[String]) -> Result<Vec<u32>> {
    let mut chosen = Vec::new();
    for name in text.split(',').map(str::trim) {
        let index = find(name, uuids)?;
        if !chosen.contains(&index) {
            chosen.push(index);
        }
    }
    Ok(chosen)
}

fn find(name: &str, uuids: &[String]) -> Result<u32> {
    let unknown = |why: String| Err(Error::usage(format!("choosing a GPU: {why}; `gpu-assay inspect` lists them")));
    if let Ok(index) = name.parse::<u32>() {
        return match uuids.len() {
            count if (index as usize) < count => Ok(index),
            0 => unknown(format!("there is no GPU {index}: this machine has none")),
            count => unknown(format!("expected a number from 0 to {} but found {index}", count - 1)),
        };
    }
    // A name without digits of a UUID, such as `GPU-`, would fit all of them.
    let digits = bare(name);
    let mut fitting = (0_u32..).zip(uuids).filter(|(_, uuid)| !digits.is_empty() && has_prefix(uuid, name));
    match (fitting.next(), fitting.next()) {
        (Some((index, _)), None) => Ok(index),
        (Some(_), Some(_)) => unknown(format!("`{name}` fits several GPUs")),
        (None, _) => unknown(format!("expected a number or a UUID of this machine but found `{name}`")),
    }
}

fn has_prefix(uuid: &str, name: &str) -> bool {
    uuid.get(..name.len()).is_some_and(|start| start.eq_ignore_ascii_case(name))
}

/// The UUID without the word that says what it names: CUDA's bytes do not carry that word, so two sources may disagree about it.
pub(super) fn bare(uuid: &str) -> String {
    let lower = uuid.to_ascii_lowercase();
    lower.strip_prefix("gpu-").or_else(|| lower.strip_prefix("mig-")).unwrap_or(&lower).to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn machine() -> Vec<String> {
        ["GPU-aa11-x", "GPU-aa22-y", "MIG-bb33-z"].map(String::from).to_vec()
    }

    fn refusal(text: &str) -> String {
        select(text, &machine()).unwrap_err().to_string()
    }

    #[test]
    fn numbers_and_uuids_mix_and_count_once() {
        assert_eq!(select("2, 0", &machine()).unwrap(), [2, 0]);
        assert_eq!(select("GPU-aa22-y,1", &machine()).unwrap(), [1]);
        assert_eq!(select("mig-BB", &machine()).unwrap(), [2]);
    }

    #[test]
    fn a_name_that_fits_none_or_several_is_refused() {
        assert_eq!(refusal("3"), "choosing a GPU: expected a number from 0 to 2 but found 3; `gpu-assay inspect` lists them");
        assert_eq!(refusal("GPU-aa"), "choosing a GPU: `GPU-aa` fits several GPUs; `gpu-assay inspect` lists them");
        assert_eq!(
            refusal("GPU-zz"),
            "choosing a GPU: expected a number or a UUID of this machine but found `GPU-zz`; `gpu-assay inspect` lists them"
        );
        for text in ["", ",", "GPU-", "-1", "0,", "1.5"] {
            assert!(select(text, &machine()).is_err(), "{text:?}");
        }
    }

    #[test]
    fn a_machine_without_gpus_says_so() {
        let text = select("0", &[]).unwrap_err().to_string();
        assert_eq!(text, "choosing a GPU: there is no GPU 0: this machine has none; `gpu-assay inspect` lists them");
    }
}
