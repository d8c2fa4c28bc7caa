//! Types follow the schema: what is derived from it is compiled again when it changes.

fn main() {
    println!("cargo::rerun-if-changed=../schema.graphql");
    println!("cargo::rerun-if-changed=../calls.graphql");
}
