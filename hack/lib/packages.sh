# Debian packages, for the scripts in hack and conformance. Source it.
#
#   install_packages NAME...     those that are missing, on the machine; says so first; never removes anything
#   unpack_packages DIR NAME...  those that are missing, with what they depend on, into DIR; the machine is left as it is.
#                                NAME? is left out where apt knows no such package.

# apt's lists are fetched once, and only when something is missing.
refresh_lists() {
  [ -z "${lists_are_fresh:-}" ] || return 0
  as_root apt-get update -qq >&2 || echo "packages: apt-get update failed; going on with the lists that are here" >&2
  lists_are_fresh=1
}

as_root() {
  if [ "$(id -u)" = 0 ]; then "$@"; else sudo "$@"; fi
}

is_installed() {
  [ "$(dpkg-query -W -f '${db:Status-Status}' "$1" 2>/dev/null)" = installed ]
}

install_packages() {
  local missing=() name plan
  for name; do
    is_installed "$name" || missing+=("$name")
  done
  [ ${#missing[@]} -gt 0 ] || return 0
  command -v apt-get >/dev/null || {
    echo "packages: this machine has no apt-get; install what these packages hold and run again: ${missing[*]}" >&2
    return 1
  }
  refresh_lists
  plan=$(apt-get install --simulate --no-install-recommends "${missing[@]}") || return
  if grep -q '^Remv ' <<<"$plan"; then
    echo "packages: ${missing[*]} cannot be installed without removing: $(sed -n 's/^Remv \([^ ]*\).*/\1/p' <<<"$plan" | xargs)" >&2
    return 1
  fi
  echo "packages: installing $(sed -n 's/^Inst \([^ ]*\).*/\1/p' <<<"$plan" | xargs)" >&2
  as_root env DEBIAN_FRONTEND=noninteractive apt-get install --yes -qq --no-install-recommends --no-remove "${missing[@]}" >&2
}

plan_unpack() {
  local names=() name
  for name; do
    [ "$name" = "${name%\?}" ] || apt-cache show "${name%\?}" >/dev/null 2>&1 || continue
    names+=("${name%\?}")
  done
  apt-get install --simulate --no-install-recommends --no-upgrade "${names[@]}"
}

# Unpacked, not installed: no service is started, no configuration is asked for, and no package is upgraded because
# a dependency names a newer release of it.
unpack_packages() {
  local dir=$1 plan wanted deb
  shift
  mkdir -p "$dir"
  plan=$(plan_unpack "$@" 2>/dev/null) || {
    refresh_lists
    plan=$(plan_unpack "$@") || return
  }
  # "Inst NAME (VERSION …" is new; "Inst NAME [OLD] (NEW …" would replace one that is there.
  mapfile -t wanted < <(sed -n 's/^Inst \([^ ]*\) (\([^ ]*\) .*/\1=\2/p' <<<"$plan" | sort)
  [ "$(cat "$dir/.packages" 2>/dev/null)" != "${wanted[*]}" ] || return 0
  rm -rf "$dir"
  mkdir -p "$dir/.debs"
  if [ ${#wanted[@]} -gt 0 ]; then
    echo "packages: unpacking ${wanted[*]%%=*} into $dir" >&2
    (cd "$dir/.debs" && apt-get download -qq "${wanted[@]}" 2>/dev/null) || {
      refresh_lists
      (cd "$dir/.debs" && apt-get download -qq "${wanted[@]}" >&2) || return
    }
    for deb in "$dir/.debs"/*.deb; do
      dpkg-deb --extract "$deb" "$dir" || return
    done
    # Older packages still name /lib, /bin and /sbin, which are links into /usr on the machine.
    for deb in bin sbin lib lib64; do
      [ ! -d "$dir/$deb" ] || { mkdir -p "$dir/usr/$deb" && cp -a "$dir/$deb/." "$dir/usr/$deb/" && rm -rf "${dir:?}/$deb"; }
    done
  fi
  rm -rf "$dir/.debs"
  echo "${wanted[*]}" >"$dir/.packages"
}
