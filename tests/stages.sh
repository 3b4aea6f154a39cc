# Stages, one after the other, each with its time; sourced by tests/run and .ci/run.
# A stage that fails does not stop the others. A stage that cannot run here returns 77, having said why.

declare -a stages=() results=() seconds=()

stage() { # NAME COMMAND…
  local name=$1 started=$SECONDS status=0
  shift
  printf '\n== %s\n' "$name"
  "$@" || status=$?
  case $status in
    0) results+=(passed) ;;
    77) results+=(skipped) ;;
    *) results+=(failed) ;;
  esac
  stages+=("$name")
  seconds+=($((SECONDS - started)))
  printf '== %s %s in %s s\n' "$name" "${results[-1]}" "${seconds[-1]}"
}

skip() { # why
  echo "SKIPPED: $*"
  return 77
}

count() { # RESULT
  local found=0 result
  for result in "${results[@]}"; do [ "$result" = "$1" ] && found=$((found + 1)); done
  echo "$found"
}

# The table of times, the line that says it all; not zero when a stage failed.
summary() {
  local i
  echo
  for i in "${!stages[@]}"; do printf '%6s s  %-8s %s\n' "${seconds[$i]}" "${results[$i]}" "${stages[$i]}"; done
  echo "$(count passed) passed, $(count failed) failed, $(count skipped) skipped"
  [ "$(count failed)" = 0 ]
}
