//! The code map, kept true: which package may know what (ARCHITECTURE.md).

/// Dependencies of a manifest, dev-dependencies left out.
fn dependencies(manifest: &str) -> Vec<&str> {
    let mut names = Vec::new();
    let mut inside = false;
    for line in manifest.lines() {
        if line.starts_with('[') {
            inside = line == "[dependencies]";
        } else if inside && let Some((name, _)) = line.split_once(['.', ' ', '=']) {
            names.push(name);
        }
    }
    names
}

const OURS: [&str; 11] = [
    "rating-engine",
    "diameter",
    "diameter-tcp",
    "balance-store",
    "cdr-export",
    "cdr-client",
    "ocs-api",
    "ocs-journal",
    "ocs-cdr-files",
    "ocs-proto",
    "ocs",
];

#[test]
fn packages_point_inward() {
    for (package, manifest, may) in [
        ("rating-engine", include_str!("../../rating-engine/Cargo.toml"), &[][..]),
        ("diameter", include_str!("../../diameter/Cargo.toml"), &["rating-engine"]),
        ("diameter-tcp", include_str!("../../diameter/tcp/Cargo.toml"), &["rating-engine", "diameter"]),
        ("balance-store", include_str!("../../balance-store/Cargo.toml"), &["rating-engine"]),
        ("cdr-export", include_str!("../../cdr-export/Cargo.toml"), &["rating-engine", "ocs-proto"]),
        ("ocs-api", include_str!("../api/Cargo.toml"), &["rating-engine", "ocs-proto"]),
        // What others start from knows nothing but the interface.
        ("cdr-client", include_str!("../../cdr-export/client/Cargo.toml"), &[]),
        ("ocs-journal", include_str!("../../cdr-export/journal/Cargo.toml"), &["ocs-proto", "cdr-client"]),
        ("ocs-cdr-files", include_str!("../../cdr-export/files/Cargo.toml"), &["ocs-proto", "cdr-client"]),
        ("ocs-proto", include_str!("../../proto/Cargo.toml"), &["rating-engine"]),
    ] {
        for name in dependencies(manifest) {
            assert!(!OURS.contains(&name) || may.contains(&name), "{package} may not depend on {name}");
        }
    }
}

#[test]
fn the_centre_and_the_codec_are_pure() {
    // jiff knows time zones; that nobody asks it what time it is, clippy.toml says.
    let impure = ["tokio", "serde", "serde_json", "rocksdb", "tonic", "hyper", "tracing", "metrics", "rand", "chrono"];
    for (package, manifest) in [
        ("rating-engine", include_str!("../../rating-engine/Cargo.toml")),
        ("diameter", include_str!("../../diameter/Cargo.toml")),
    ] {
        for name in dependencies(manifest) {
            assert!(!impure.contains(&name), "{package} is pure and may not depend on {name}");
        }
    }
    let store = dependencies(include_str!("../../balance-store/Cargo.toml"));
    assert!(!store.contains(&"tokio"), "the store has no async");
}

#[test]
fn every_package_takes_versions_and_lints_from_the_workspace() {
    for manifest in [
        include_str!("../../rating-engine/Cargo.toml"),
        include_str!("../../diameter/Cargo.toml"),
        include_str!("../../diameter/tcp/Cargo.toml"),
        include_str!("../../balance-store/Cargo.toml"),
        include_str!("../../cdr-export/Cargo.toml"),
        include_str!("../../cdr-export/client/Cargo.toml"),
        include_str!("../../cdr-export/files/Cargo.toml"),
        include_str!("../../cdr-export/journal/Cargo.toml"),
        include_str!("../api/Cargo.toml"),
        include_str!("../../proto/Cargo.toml"),
        include_str!("../Cargo.toml"),
        include_str!("../../benches/Cargo.toml"),
    ] {
        assert!(manifest.contains("[lints]\nworkspace = true"), "{manifest}");
        assert!(!manifest.contains("version = \""), "versions stand in the workspace's list:\n{manifest}");
    }
}
