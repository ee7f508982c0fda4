# Counts tests from what their programs print. Sourced after common.sh.

PASSED=0
FAILED=0
SUMMARY=()

count_lines() { grep -cE "$1" "$2" || true; }

# How each kind of program says what passed and failed: prints two numbers. The exit status decides the rest.
count_tests() {
  local counter=$1 log=$2 status=$3 total failed
  case $counter in
    whole) # one step, one test
      if [ "$status" -eq 0 ]; then echo 1 0; else echo 0 1; fi
      ;;
    lines)
      echo "$(count_lines '^ok - ' "$log") $(count_lines '^not ok - ' "$log")"
      ;;
    regress) # until 15, and the test protocol since 16
      echo "$(count_lines '^(test .* \.\.\. ok|ok [0-9]+ )' "$log")" \
        "$(count_lines '^(test .* \.\.\. FAILED|not ok [0-9]+ )' "$log")"
      ;;
    prove) # a file is a test
      total=$(count_lines '^(\[[0-9:]+\] )?test/t/[^ ]*\.pl \.' "$log")
      failed=$(count_lines '^test/t/[^ ]*\.pl +\(Wstat' "$log")
      echo "$((total - failed)) $failed"
      ;;
    ctest)
      sed -nE 's/^[0-9]+% tests passed, ([0-9]+) tests? failed out of ([0-9]+)$/\1 \2/p' "$log" |
        { read -r failed total && echo "$((total - failed)) $failed" || echo 0 0; }
      ;;
  esac
}

# tally TITLE COUNTER LOG STATUS SECONDS
tally() {
  local title=$1 passed failed
  read -r passed failed < <(count_tests "$2" "$3" "$4")
  # Whatever broke before a test could say so is a failure too.
  if [ "$4" -ne 0 ] && [ "$failed" -eq 0 ]; then failed=1; fi
  PASSED=$((PASSED + passed))
  FAILED=$((FAILED + failed))
  SUMMARY+=("$(printf '%-12s %5d passed %5d failed %6d s' "$title" "$passed" "$failed" "$5")")
}

tally_total() {
  headline "Summary"
  printf '%s\n' "${SUMMARY[@]:-nothing was run}"
  say
  say "$PASSED passed, $FAILED failed"
  [ "$FAILED" -eq 0 ]
}
