# What hack/bench and hack/vm share: the host's packages, its mirror of Debian, the cache. Sourced, never run.

# The cache outside the checkout: nothing in it is precious, each part is made again when it is missing.
cache=${XDG_CACHE_HOME:-$HOME/.cache}/aril

# need PACKAGE...: installs what the host lacks of them; never removes or upgrades one that is there.
need() {
  local missing=() p
  for p; do
    [ "$(dpkg-query -W -f '${db:Status-Status}' "$p" 2>/dev/null)" = installed ] || missing+=("$p")
  done
  [ ${#missing[@]} -gt 0 ] || return 0
  echo "installing ${missing[*]}" >&2
  apt-get update -q >&2
  DEBIAN_FRONTEND=noninteractive apt-get install -q -y --no-install-recommends --no-remove --no-upgrade "${missing[@]}" >&2
}

# mirror LABEL: the address from which this machine takes the archive of that label ("Debian",
# "Debian-Security"), or nothing on a machine that is no Debian.
mirror() {
  apt-get indextargets --format '$(LABEL) $(REPO_URI)' 'Created-By: Packages' | sed -n "s/^$1 //p" | sort -u | head -n 1
}

# debootstrap TREE SUITE PACKAGES [OPTION...] [-- SOURCE...]: makes a Debian tree, with the packages named (separated
# by commas) and without manuals. In a mount namespace of its own, so that no mount of it is seen outside.
debootstrap() {
  local tree=$1 suite=$2 packages=$3 options=()
  shift 3
  while [ $# -gt 0 ] && [ "$1" != -- ]; do options+=("$1"); shift; done
  [ $# -eq 0 ] || shift
  if [ $# -eq 0 ]; then set -- $(mirror Debian); fi
  # fsync of a tree that is thrown away on failure is wasted; apt's own user cannot enter a cache below /root.
  unshare --mount --propagation private -- mmdebstrap --quiet --mode=root --format=directory \
    --aptopt='APT::Sandbox::User "root"' --aptopt='Acquire::Retries "3"' --aptopt='Acquire::Check-Valid-Until "false"' \
    --dpkgopt=force-unsafe-io --dpkgopt='path-exclude=/usr/share/man/*' --dpkgopt='path-exclude=/usr/share/doc/*' \
    --dpkgopt='path-exclude=/usr/share/locale/*' --dpkgopt='path-exclude=/usr/share/info/*' \
    --include="$packages" "${options[@]}" "$suite" "$tree" "$@"
}
