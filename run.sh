#!/usr/bin/env bash
# Self-supervised speaker verification with SDPN (arXiv 2308.02774), from recordings to a table of error rates.
#
#   ./run.sh                                              all stages, on speech synthesized on the spot
#   ./run.sh --corpus folder --corpus-dir DIR             all stages, on your own recordings
#   ./run.sh --stage 4 --stop-stage 4 --train.lr 0.1      one stage, with a setting of conf/ changed
#   ./run.sh --help                                       the options
#
# What is done is not done again: run the same command after an interruption and it goes on.

set -euo pipefail

# Options are declared and checked in sdpn/recipe/, without any package, so that a wrong one is refused before the
# environment is built. What comes back are the variables and arrays used below, of the same names as the programs.
here=$PWD
cd "$(dirname "${BASH_SOURCE[0]}")"
python=.venv/bin/python
[ -x "$python" ] || python=$(SDPN_BUILD=no && . ./path.sh && sdpn_python)
lines=$("$python" -m sdpn.recipe "$here" "$@")
eval "$lines"
. ./path.sh

stage() { # is it to be run? then say so
    [ "$stage" -le "$1" ] && [ "$stop_stage" -ge "$1" ] && echo "== stage $1: $2"
}

# A program runs in the background, so that SIGTERM and SIGUSR1 to this script alone reach it at once; it is waited for,
# since a training saves first. Ctrl-C reaches it without help.
run() {
    local status=0
    (trap - INT && exec "$@") <&0 &
    child=$!
    until wait "$child"; do
        kill -0 "$child" 2>/dev/null || break # else a signal has interrupted the waiting
    done
    wait "$child" || status=$?
    child=
    [ "$status" -ne 0 ] || status=$stopped
    return "$status"
}
stop() { # STATUS [SIGNAL to pass on]
    stopped=$1
    [ -n "$child" ] || exit "$stopped"
    [ -z "${2-}" ] || kill -"$2" "$child" 2>/dev/null || true
}
child= stopped=0
trap 'stop 143 TERM' TERM
trap 'stop 138 USR1' USR1
trap 'stop 130' INT

run steps/check_conf.py "${check_conf[@]}" "$data"

if stage 0 "prepare the corpus: manifests and trial lists"; then
    run "${prepare[@]}" "$data"
fi

if stage 1 "one cut an utterance; the training set loses its speaker labels"; then
    run steps/make_cuts.py "${make_cuts[@]}" "$data"
    run steps/check_sizes.py "${check_sizes[@]}" "$data"
fi

if stage 2 "fbank, cached"; then
    run steps/make_fbank.py "${make_fbank[@]}" "$data"
fi

if stage 3 "reverberated copies of the training set; banks of noise, music and babble"; then
    run steps/make_augment.py "${make_augment[@]}" "$data"
fi

if stage 4 "train SDPN"; then
    run steps/train_sdpn.py "${train_sdpn[@]}" "$data" "$exp"
fi

if stage 5 "x-vectors, of the trained network, of the baselines, and of augmented training views"; then
    run steps/extract_xvectors.py "${extract_xvectors[@]}" "$data" "$exp"
fi

if stage 6 "score with every back-end, and show the results"; then
    run steps/score.py "${score[@]}" "$data" "$exp"
fi

# Round two: what stages 4 to 6 have made is taken further, in experiments of their own below it
before=$exp made=("$exp")
for round in "${rounds[@]}"; do
    if stage 7 "pseudo-speakers, clusters of the training x-vectors"; then
        status=0
        run steps/make_pseudo_speakers.py "${make_pseudo_speakers[@]}" "$data" "$before" "$exp/$round" || status=$?
        [ "$status" -ne 3 ] || break # another round is not worth it
        [ "$status" -eq 0 ] || exit "$status"
    fi

    if stage 8 "fine-tune the encoder on them"; then
        run steps/finetune.py "${finetune[@]}" "$data" "$exp/$round"
    fi

    before=$exp/$round made+=("$exp/$round")
    if stage 9 "x-vectors and scores of the result, compared with those before"; then
        run steps/extract_xvectors.py "${extract_xvectors[@]}" "$data" "$exp/$round"
        run steps/score.py "${score[@]}" "$data" "$exp/$round"
        run steps/compare_rounds.py "${made[@]}"
    fi
done
