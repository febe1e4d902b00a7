//! Rules about the source that its text can show. Each names the file and the line that breaks it.

use std::{
    fs,
    path::{Path, PathBuf},
};

#[test]
fn files_are_short_enough_to_be_read_at_once() {
    assert_none(sources().filter_map(|source| {
        let lines = source.text.lines().count();
        (lines > LINES_MAX).then(|| format!("{}: {lines} lines", source.name))
    }));
}

#[test]
fn the_engine_has_no_clock_no_socket_no_thread_no_lock_and_no_randomness_of_its_own() {
    let banned = [
        "Instant::now",
        "SystemTime",
        "std::thread",
        "std::fs",
        "UdpSocket",
        "TcpStream",
        "tokio",
        "async ",
        ".await?",
        ".await;",
        "Mutex",
        "RwLock",
        "Atomic",
        "Arc<",
        "Rc<",
        "getrandom",
        "OsRng",
        "rand::rng(",
        "thread_rng",
        "Serialize",
        "unsafe ",
        "println!",
        "std::env",
    ];
    assert_none(lines_with("shared/engine/src/", &banned));
}

#[test]
fn the_engine_depends_on_ciphers_and_seeded_randomness_alone() {
    let manifest = read("shared/engine/Cargo.toml");
    let section = manifest.split("[dependencies]").nth(1).expect("the engine has dependencies");
    let section = section.split("\n[").next().unwrap_or_default();
    let names = section.lines().filter_map(|line| line.split([' ', '.', '=']).next());
    let allowed = ["aws-lc-rs", "chacha20poly1305", "rand", "thiserror", "zeroize"];
    let strange = names.filter(|name| !name.is_empty() && !allowed.contains(name));
    assert_none(strange.map(|name| format!("shared/engine/Cargo.toml: {name}")));
}

#[test]
fn crates_depend_in_one_direction() {
    let forbidden = [
        ("shared/engine/Cargo.toml", ["shared", "hawser", "lab", "sim"].as_slice()),
        ("shared/Cargo.toml", &["hawser", "hawser-server", "lab", "sim"]),
        ("client/Cargo.toml", &["hawser-server", "lab", "sim"]),
        ("server/Cargo.toml", &["hawser", "lab", "sim"]),
    ];
    let broken = forbidden.into_iter().flat_map(|(manifest, names)| {
        let text = read(manifest);
        let used =
            move |name: &&str| text.lines().any(|line| line.starts_with(&format!("{name} = ")));
        names
            .iter()
            .copied()
            .filter(used)
            .map(move |n| format!("{manifest}: {n}"))
            .collect::<Vec<_>>()
    });
    assert_none(broken);
}

#[test]
fn versions_stand_in_the_root_manifest_alone() {
    let manifests =
        files().filter(|path| path.ends_with("Cargo.toml") && path != Path::new("Cargo.toml"));
    let broken = manifests.flat_map(|path| {
        let name = path.display().to_string();
        let text = read(&name);
        let own = |line: &&str| {
            line.contains(" = \"")
                && line
                    .split(" = \"")
                    .nth(1)
                    .is_some_and(|v| v.starts_with(|c: char| c.is_ascii_digit()))
                || line.contains("version = \"")
        };
        text.lines().filter(own).map(|line| format!("{name}: {line}")).collect::<Vec<_>>()
    });
    assert_none(broken);
}

#[test]
fn there_is_one_clock_and_one_source_of_randomness() {
    let clocks = ["shared/src/clock.rs", "tests/lab/src/clock.rs"];
    // Tests of real programs wait in real time.
    let product = |name: &str| {
        !name[5..].contains("/tests/")
            && !name.contains("tests.rs")
            && !name.starts_with("tests/netns/")
    };
    let broken = sources().filter(|s| product(&s.name) && !clocks.contains(&s.name.as_str()));
    let reads = broken.flat_map(|source| {
        // What tokio's timers count by is theirs, and no packet sees it.
        let timers = source.text.contains("tokio::time::") || source.text.contains("    time::{");
        let instant = if timers { "std::time::Instant::now()" } else { "Instant::now()" };
        source.lines_with(&[instant, "SystemTime::now()", "clock_gettime("])
    });
    // How busy a thread was is no time of day.
    assert_none(reads.filter(|line| !line.contains("ThreadCPUTime")));
    let entropy = ["aws_lc_rs::rand", "getrandom", "OsRng"];
    let broken = sources()
        .filter(|s| {
            s.name.starts_with("shared/src/")
                || s.name.starts_with("client/")
                || s.name.starts_with("server/")
        })
        .filter(|s| product(&s.name) && s.name != "shared/src/entropy.rs");
    assert_none(broken.flat_map(|source| source.lines_with(&entropy)));
}

#[test]
fn modules_are_named_by_their_files() {
    assert_none(sources().filter(|s| s.name.ends_with("/mod.rs")).map(|source| source.name));
}

#[test]
fn nothing_is_left_undone_in_the_text() {
    // Put together here, so that this file does not find itself.
    let banned =
        [["TO", "DO"], ["FIX", "ME"], ["XX", "X:"], ["todo", "!("], ["unimple", "mented!("]];
    let banned: Vec<String> = banned.iter().map(|parts| parts.concat()).collect();
    let banned: Vec<&str> = banned.iter().map(String::as_str).collect();
    assert_none(texts().flat_map(|source| source.lines_with(&banned)));
}

#[test]
fn types_are_not_named_by_what_every_type_is() {
    let endings = ["Manager", "Handler", "Helper", "Util", "Utils", "Info", "Context", "Wrapper"];
    let kinds = ["struct ", "enum ", "trait "];
    let broken = sources().flat_map(|source| {
        let named = source.text.lines().filter_map(|line| {
            let (_, after) = kinds.iter().find_map(|kind| line.split_once(kind))?;
            let name: String = after.chars().take_while(|c| c.is_alphanumeric()).collect();
            endings.iter().any(|ending| name.ends_with(ending)).then_some(name)
        });
        named.map(|name| format!("{}: {name}", source.name)).collect::<Vec<_>>()
    });
    assert_none(broken);
}

#[test]
fn no_text_names_a_place_of_some_machine() {
    let places = [["/ho", "me/"], ["/wo", "rk/"], ["/ro", "ot/"], ["/Us", "ers/"]];
    let places: Vec<String> = places.iter().map(|parts| parts.concat()).collect();
    let places: Vec<&str> = places.iter().map(String::as_str).collect();
    assert_none(texts().flat_map(|source| source.lines_with(&places)));
}

#[test]
fn client_and_server_hold_no_unsafe_code() {
    for folder in ["client/src/", "server/src/"] {
        assert_none(lines_with(folder, &["unsafe {", "unsafe fn", "unsafe impl"]));
    }
}

#[test]
fn scripts_can_be_run_and_stand_in_the_readme() {
    let readme = read("README.md");
    for script in ["scripts/bench.sh", "scripts/demo.sh", "scripts/test.sh"] {
        assert!(readme.contains(&format!("./{script}")), "README.md does not name ./{script}");
        use std::os::unix::fs::PermissionsExt;
        let mode = fs::metadata(root().join(script)).expect(script).permissions().mode();
        assert!(mode & 0o111 != 0, "{script} has no run bit");
    }
    assert!(read(".ci/run").contains("scripts/test.sh"));
}

/// A file that can be read at once.
const LINES_MAX: usize = 500;

struct Source {
    name: String,
    text: String,
}

impl Source {
    fn lines_with(&self, banned: &[&str]) -> Vec<String> {
        let found = |line: &str| {
            let code = line.trim_start();
            !code.starts_with("//") && banned.iter().any(|word| line.contains(word))
        };
        let lines = self.text.lines().zip(1..).filter(|(line, _)| found(line));
        lines.map(|(line, at)| format!("{}:{at}: {}", self.name, line.trim())).collect()
    }
}

fn lines_with(folder: &str, banned: &[&str]) -> Vec<String> {
    let inside = sources().filter(|source| source.name.starts_with(folder));
    inside.flat_map(|source| source.lines_with(banned)).collect()
}

fn sources() -> impl Iterator<Item = Source> {
    texts().filter(|source| source.name.ends_with(".rs"))
}

fn texts() -> impl Iterator<Item = Source> {
    files().filter_map(|path| {
        let name = path.display().to_string();
        let known = [".rs", ".sh", ".md", ".toml"].iter().any(|ending| name.ends_with(ending));
        known.then(|| Source { text: read(&name), name })
    })
}

/// All files of the repository, without what building makes.
fn files() -> impl Iterator<Item = PathBuf> {
    let mut folders = vec![root()];
    let mut files = Vec::new();
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).expect("the folder can be read").flatten() {
            let (path, name) = (entry.path(), entry.file_name());
            let name = name.to_string_lossy();
            if path.is_dir() {
                if !name.starts_with("target") && name != ".git" {
                    folders.push(path);
                }
            } else {
                files.push(path);
            }
        }
    }
    files.sort();
    files.into_iter().map(|path| path.strip_prefix(root()).expect("below the root").to_owned())
}

fn read(name: &str) -> String {
    fs::read_to_string(root().join(name)).unwrap_or_else(|error| panic!("{name}: {error}"))
}

fn root() -> PathBuf {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    here.ancestors().nth(2).expect("tests/tidy lies two folders deep").to_owned()
}

fn assert_none(broken: impl IntoIterator<Item = String>) {
    let broken: Vec<String> = broken.into_iter().collect();
    assert!(broken.is_empty(), "{} places:\n{}", broken.len(), broken.join("\n"));
}
