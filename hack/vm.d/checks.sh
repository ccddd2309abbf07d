# What compose, rootless and systemd share. Source it with `suite` set to the suite's name and `title` to what stands before each
# check: the manager, and where it is told of.

passed=0 failed=0 skipped=0

# check WHAT COMMAND...: one test, in the form of conformance/managers/run.
check() {
  local what=$1 said
  shift
  if said=$("$@" 2>&1); then
    passed=$((passed + 1))
    echo "ok $title: $what"
  else
    failed=$((failed + 1))
    printf 'not ok %s: %s\n' "$title" "$what"
    sed 's/^/    /' <<<"$said"
  fi
}

# skip WHAT REASON
skip() {
  skipped=$((skipped + 1))
  echo "skip $title: $1 # $2"
}

# says TEXT COMMAND...: the command ends with 0, and all that it prints is TEXT.
says() { ends_with 0 "$@"; }

# ends_with STATUS TEXT COMMAND...: it ends so, and all that it prints on standard output is TEXT.
ends_with() {
  local status=$1 text=$2 out code=0
  shift 2
  out=$("$@") || code=$?
  [ "$code $out" = "$status $text" ] || { printf 'exit code %s, standard output:\n%s\nexpected exit code %s and:\n%s\n' "$code" "$out" "$status" "$text"; false; }
}

# patiently COMMAND...: until it succeeds, for ten minutes
patiently() {
  local end=$((SECONDS + 600))
  until "$@" >/dev/null 2>&1; do [ $SECONDS -lt $end ] || { "$@"; return; }; sleep 0.5; done
}

# The battery's image, made here, as the file $1.
save_image() {
  local tree
  tree=$(mktemp -d)/tree
  python3 -B -c 'import sys; sys.path.insert(0, sys.argv[1]); import image; image.make_tree(sys.argv[2]); image.save(*sys.argv[2:])' \
    "$(dirname "$(readlink -f "${BASH_SOURCE[0]}")")/../../conformance/managers" "$tree" "$1"
}

# The suite's last line, and its status.
finish() {
  echo "$suite: $passed passed, $failed failed, $skipped skipped"
  [ $failed = 0 ]
}
