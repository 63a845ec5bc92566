//! A model's configuration from a stranger: reading never panics, and the numbers of what is accepted hold together.
#![no_main]

use gpu_assay::report;
use gpu_assay::workload::Model;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| {
    let model = match Model::from_config_text("fuzz", text) {
        Ok(model) => model,
        Err(error) => {
            assert_eq!(error.exit_code(), 2);
            return;
        }
    };
    let modules = model.breakdown();
    assert_eq!(modules.iter().map(|(_, parameters)| parameters).sum::<u64>(), model.parameters());
    assert!(model.active_parameters() <= model.parameters());
    if let Some(vision) = &model.vision {
        for side in [1, 100, 5000, u64::MAX] {
            assert!(vision.tokens(side, 1000) >= 1);
        }
    }
    let shown = report::render(&report::model(&model, true), report::Format::Text { width: Some(80) });
    assert!(shown.chars().all(|c| c == '\n' || !c.is_control()), "a control character reached the terminal");
});
