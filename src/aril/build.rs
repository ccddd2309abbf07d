//! Builds aril-init, which this crate embeds, with the flags that a freestanding program needs and a target directory of its own.

use std::env;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::path::{Path, PathBuf};
use std::process::Command;

/// What compiles seccomp profiles.
const SECCOMP: &str = "compile/seccomp";

fn main() {
    let (out, target) = (PathBuf::from(get("OUT_DIR")), get("TARGET"));
    let source = Path::new(&get("CARGO_MANIFEST_DIR")).join("../init");
    for path in ["../init", "../plan", "../../Cargo.toml", "build.rs", "order", SECCOMP] {
        println!("cargo:rerun-if-changed={path}");
    }
    // Fixed addresses: it needs no relocation, and maps nothing else.
    let flags = ["-C", "relocation-model=static", "-C", "panic=abort"].join("\u{1f}");
    let mut cargo = Command::new(get("CARGO"));
    cargo.args(["build", "--release", "--target", &target, "--manifest-path"]).arg(source.join("Cargo.toml"));
    cargo.arg("--target-dir").arg(out.join("init")).env("CARGO_ENCODED_RUSTFLAGS", flags);
    // What this build was told is not meant for that one.
    for name in ["CARGO_BUILD_TARGET", "RUSTC_WRAPPER", "RUSTC_WORKSPACE_WRAPPER", "CARGO_PROFILE_RELEASE_LTO"] {
        cargo.env_remove(name);
    }
    let status = cargo.status().unwrap_or_else(|e| panic!("cannot run cargo: {e}"));
    assert!(status.success(), "aril-init cannot be built");
    let built = out.join("init").join(&target).join("release/aril-init");
    std::fs::copy(&built, out.join("aril-init")).unwrap_or_else(|e| panic!("cannot copy {}: {e}", built.display()));
    let size = std::fs::metadata(&built).map_or(0, |m| m.len());
    assert!(size <= 150 * 1024, "aril-init has grown to {size} bytes: it is copied at every start");
    println!("cargo:rustc-env=ARIL_COMMIT={}", commit());
    println!("cargo:rustc-env=ARIL_SECCOMP_COMPILER={}", sources_of(SECCOMP));
    if relr(&target) {
        println!("cargo:rustc-link-arg-bins=-Wl,-z,pack-relative-relocs");
    }
    if let Some(flag) = order(&target) {
        println!("cargo:rustc-link-arg-bins={flag}");
        // For hack/order: what is where.
        println!("cargo:rustc-link-arg-bins=-Wl,--no-demangle,-Map={}", out.join("aril.map").display());
    }
}

/// What has the linker put the functions next to each other that the commands of a container's life run: a third of the program, and spread over it
/// otherwise. It spares `exec` a tenth of its page faults and 2 to 3 % of its time. `None` where there is no list of them (`hack/order` makes it), or the
/// linker takes none: LLVM's does.
fn order(target: &str) -> Option<String> {
    let file = PathBuf::from(get("CARGO_MANIFEST_DIR")).join("order").join(target);
    if get("PROFILE") != "release" {
        return None;
    }
    let flag = format!("-Wl,--no-warn-symbol-ordering,--symbol-ordering-file={}", file.display());
    let source = PathBuf::from(get("OUT_DIR")).join("probe.rs");
    std::fs::write(&source, "fn main() {}").unwrap_or_else(|e| panic!("cannot write {}: {e}", source.display()));
    let mut probe = Command::new(get("RUSTC"));
    probe.args(["--target", target, "-C", &format!("link-arg={flag}"), "-o"]).arg(source.with_extension("out")).arg(&source);
    probe.args(env::var("RUSTC_LINKER").map(|linker| format!("-Clinker={linker}")));
    probe.args(get("CARGO_ENCODED_RUSTFLAGS").split('\u{1f}').filter(|flag| !flag.is_empty()));
    probe.output().is_ok_and(|output| output.status.success()).then_some(flag)
}

/// Whether relocations can be packed, to a sixtieth of their size: a static program of glibc relocates itself, and knows how since 2.36.
fn relr(target: &str) -> bool {
    let native = target == get("HOST") && target.ends_with("-gnu");
    let output = Command::new("getconf").arg("GNU_LIBC_VERSION").output();
    let text = output.ok().map(|o| String::from_utf8_lossy(&o.stdout).trim().to_owned()).unwrap_or_default();
    let mut version = text.trim_start_matches("glibc ").split('.').map(|n| n.parse::<u32>().unwrap_or(0));
    native && (version.next(), version.next()) >= (Some(2), Some(36))
}

/// A hash of the files in a directory: filters that were kept by another build are not this one's.
fn sources_of(directory: &str) -> String {
    let entries = std::fs::read_dir(directory).unwrap_or_else(|e| panic!("cannot read {directory}: {e}"));
    let mut files: Vec<PathBuf> = entries.flatten().map(|entry| entry.path()).collect();
    files.sort();
    let mut hasher = DefaultHasher::new();
    for file in files {
        std::fs::read(&file).unwrap_or_else(|e| panic!("cannot read {}: {e}", file.display())).hash(&mut hasher);
    }
    format!("{:016x}", hasher.finish())
}

fn get(name: &str) -> String {
    env::var(name).unwrap_or_else(|_| panic!("cargo sets {name}"))
}

/// The commit that is built, for `aril --version`; empty outside of a checkout.
fn commit() -> String {
    let head = Command::new("git").args(["rev-parse", "--short=12", "HEAD"]).output();
    let text = head.ok().filter(|o| o.status.success()).map(|o| String::from_utf8_lossy(&o.stdout).trim().to_owned());
    text.unwrap_or_default()
}
