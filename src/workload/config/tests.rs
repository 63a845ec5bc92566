use crate::catalog::Catalog;
use crate::workload::named;

#[test]
fn every_catalog_model_has_exactly_the_parameters_its_weights_have() {
    let catalog = Catalog::embedded().expect("the built-in catalog");
    for row in &catalog.models {
        let model = named(&catalog, &row.name).unwrap_or_else(|error| panic!("{}: {error}", row.name));
        if let Some(parameters) = row.parameters {
            assert_eq!(model.parameters(), parameters, "{}", row.name);
        }
    }
}
