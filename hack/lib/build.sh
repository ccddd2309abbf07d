# What a build needs and makes, for the scripts in hack. Source it after packages.sh, with $root set.

# The linker and the C library's static half; libseccomp's, which goes into the binary.
build_packages=(gcc libc6-dev pkg-config libseccomp-dev)

need_rust() {
  command -v cargo >/dev/null || [ ! -f "$HOME/.cargo/env" ] || . "$HOME/.cargo/env"
  command -v cargo >/dev/null || {
    echo "build: there is no cargo; install a Rust toolchain first (https://rustup.rs)" >&2
    return 1
  }
}

build_release() {
  need_rust && (cd "$root" && cargo build --release)
}

release_binary() {
  echo "${CARGO_TARGET_DIR:-$root/target}/$(rustc -vV | sed -n 's/^host: //p')/release/aril"
}
