# What the tests of this folder have in common; they read it in. Wants $sim, the program, and $scratch, a folder.

demands=0

# demand WHAT COMMAND...: it must be so.
demand() {
    local what=$1
    shift
    "$@" || {
        printf 'not so: %s\n  %s\n' "$what" "$*"
        exit 1
    }
    demands=$((demands + 1))
    printf 'ok: %s\n' "$what"
}

same() { [[ $1 == "$2" ]] || { printf 'is:   %s\nmust: %s\n' "$1" "$2" && false; }; }
says() { grep -qF -- "$1" "$2" || { cat "$2" && false; }; }

# merged REPORTS NAME: merges into NAME.json and NAME.txt of the scratch folder; prints the exit code.
merged() {
    local code=0
    "$sim" merge --json "$1" >"$scratch/$2.json" 2>"$scratch/$2.txt" || code=$?
    echo "$code"
}

# sums FILE: what must be the same, however many machines: everything that is counted, and the trace.
sums() {
    local key
    for key in runs ops crashes crash_images sectors_compared faults trace; do
        grep -oE "\"$key\":(\"[^\"]*\"|[0-9]+)" "$1" | head -n 1
    done
    grep -oE '"saturation":\{[^}]*"patterns":[0-9]+' "$1"
}
