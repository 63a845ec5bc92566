//! What README and the transcripts below `tests/cmd` show is what the program prints.

#[test]
fn transcripts_are_true() {
    trycmd::TestCases::new().case("README.md").case("tests/cmd/*.trycmd");
}
