//! The workspace and its dependencies as cargo sees them.

use std::path::PathBuf;

use anyhow::{Context, Result};
use serde_json::Value;

use crate::process::{cargo, output};

/// The only platform the project runs on; packages for others are left out.
const PLATFORM: &str = "x86_64-unknown-linux-gnu";

/// One crate, ours or another's.
#[derive(Debug)]
pub(crate) struct Package {
    pub(crate) name: String,
    pub(crate) version: String,
    pub(crate) licence: Option<String>,
    pub(crate) manifest: PathBuf,
    /// It belongs to the workspace.
    pub(crate) is_ours: bool,
    /// Names of the crates of the workspace that it uses, in whatever kind of build.
    pub(crate) uses: Vec<String>,
    /// Names of its test programs, those beside the code not counted.
    pub(crate) test_programs: Vec<String>,
}

/// Asks cargo.
pub(crate) fn packages() -> Result<Vec<Package>> {
    let mut command = cargo();
    command.args(["metadata", "--format-version", "1", "--filter-platform", PLATFORM]);
    parse(&output(&mut command)?)
}

fn parse(text: &str) -> Result<Vec<Package>> {
    let root: Value = serde_json::from_str(text).context("cargo metadata is not JSON")?;
    let members = texts(&root["workspace_members"]);
    let built: Vec<String> =
        list(&root["resolve"]["nodes"]).iter().map(|node| text_of(&node["id"])).collect();
    let all = list(&root["packages"]).iter();
    Ok(all
        .filter(|package| built.contains(&text_of(&package["id"])))
        .map(|package| Package {
            name: text_of(&package["name"]),
            version: text_of(&package["version"]),
            licence: package["license"].as_str().map(str::to_owned),
            manifest: PathBuf::from(text_of(&package["manifest_path"])),
            is_ours: members.contains(&text_of(&package["id"])),
            uses: ours_among(&package["dependencies"]),
            test_programs: test_programs(&package["targets"]),
        })
        .collect())
}

/// A dependency of our own is one with a path.
fn ours_among(dependencies: &Value) -> Vec<String> {
    let mut names: Vec<String> = list(dependencies)
        .iter()
        .filter(|dependency| dependency["path"].is_string())
        .map(|dependency| text_of(&dependency["name"]))
        .collect();
    names.sort();
    names.dedup();
    names
}

fn test_programs(targets: &Value) -> Vec<String> {
    let is_test = |target: &&Value| texts(&target["kind"]).iter().any(|kind| kind == "test");
    list(targets).iter().filter(is_test).map(|target| text_of(&target["name"])).collect()
}

fn list(value: &Value) -> &[Value] {
    value.as_array().map(Vec::as_slice).unwrap_or_default()
}

fn texts(value: &Value) -> Vec<String> {
    list(value).iter().map(text_of).collect()
}

fn text_of(value: &Value) -> String {
    value.as_str().unwrap_or_default().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    const METADATA: &str = r#"{
        "workspace_members": ["path+a#0.1.0"],
        "resolve": {"nodes": [{"id": "path+a#0.1.0"}, {"id": "reg+b#2.0.0"}]},
        "packages": [
            {"id": "path+a#0.1.0", "name": "a", "version": "0.1.0", "license": "MIT", "manifest_path": "/x/a/Cargo.toml",
             "dependencies": [{"name": "xseg", "path": "/x/xseg", "kind": null},
                              {"name": "xseg", "path": "/x/xseg", "kind": "dev"}, {"name": "b", "kind": null}],
             "targets": [{"name": "a", "kind": ["lib"]}, {"name": "scenarios", "kind": ["test"]}]},
            {"id": "reg+b#2.0.0", "name": "b", "version": "2.0.0", "license": null, "manifest_path": "/y/b/Cargo.toml",
             "dependencies": []},
            {"id": "reg+windows#1.0.0", "name": "windows", "version": "1.0.0", "license": "MIT",
             "manifest_path": "/y/w/Cargo.toml", "dependencies": []}
        ]}"#;

    #[test]
    fn only_what_is_built_here_is_a_package() {
        let packages = parse(METADATA).unwrap();
        assert_eq!(packages.iter().map(|package| package.name.as_str()).collect::<Vec<_>>(), ["a", "b"]);
    }

    #[test]
    fn own_crates_and_their_uses_of_each_other_are_told_from_the_rest() {
        let packages = parse(METADATA).unwrap();
        assert!(packages[0].is_ours && !packages[1].is_ours);
        assert_eq!(packages[0].uses, ["xseg"]);
        assert_eq!(packages[1].licence, None);
        assert_eq!(packages[0].test_programs, ["scenarios"]);
    }

    #[test]
    fn what_is_not_json_is_an_error() {
        assert!(parse("error: no such file").is_err());
    }
}
