# What hack/bench and hack/vm share: a Debian tree, and the cache. Source it, after lib/packages.sh.

# Outside the checkout; nothing in it is precious, each part is made again when it is missing.
cache=${XDG_CACHE_HOME:-$HOME/.cache}/aril

# mirror [ROOT]: the address from which this machine, or the system in ROOT, takes Debian's archive; nothing where the
# machine is no Debian.
mirror() {
  chroot "${1:-/}" apt-get indextargets --format '$(LABEL) $(REPO_URI)' 'Created-By: Packages' |
    sed -n "s/^Debian //p" | sort -u | head -n 1
}

# debian_tree DIR SUITE VARIANT PACKAGE,PACKAGE... [SOURCE...]: a Debian system in DIR, without manuals, as mmdebstrap
# makes it. Everything is mounted in a mount namespace of its own, and nothing of it is seen outside.
debian_tree() {
  local dir=$1 suite=$2 variant=$3 packages=$4
  shift 4
  install_packages mmdebstrap debian-archive-keyring
  [ $# -gt 0 ] || set -- $(mirror)
  # apt's own user could not enter a cache below /root; and a tree that failed is thrown away, so nothing need be synced.
  unshare --mount --propagation private -- mmdebstrap --quiet --mode=root --format=directory --variant="$variant" \
    --aptopt='APT::Sandbox::User "root"' --aptopt='Acquire::Retries "3"' --aptopt='Acquire::Check-Valid-Until "false"' \
    --dpkgopt=force-unsafe-io --dpkgopt='path-exclude=/usr/share/man/*' --dpkgopt='path-exclude=/usr/share/doc/*' \
    --dpkgopt='path-exclude=/usr/share/locale/*' --dpkgopt='path-exclude=/usr/share/info/*' \
    --skip=cleanup/apt/lists --include="$packages" "$suite" "$dir" "$@"
}
