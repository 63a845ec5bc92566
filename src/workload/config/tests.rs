use crate::catalog::Catalog;
use crate::workload::named;

#[test]
fn every_catalog_model_has_exactly_the_parameters_its_weights_have() {
    let catalog = Catalog::embedded().expect("the built-in catalog");
    let mut wrong = Vec::new();
    for row in &catalog.models {
        match named(&catalog, &row.name) {
            Err(error) => wrong.push(error.to_string()),
            Ok(model) => {
                if let Some(parameters) = row.parameters
                    && model.parameters() != parameters
                {
                    wrong.push(format!("{}: {} but its weights have {parameters}", row.name, model.parameters()));
                }
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}
