"""The report in English."""

MESSAGES: dict[str, str] = {
    "html.lang": "en",
    "title": "{task}: which optimizer, schedule and rate?",
    "eyebrow": "Accelerando · comparison",
    # the verdict
    "verdict.better": "better",
    "verdict.worse": "worse",
    "verdict.no difference shown": "no difference shown",
    "verdict.too few seeds": "too few seeds",
    "verdict.baseline": "baseline",
    "verdict.none": "not compared",
    "headline.nothing": "Nothing finished on fresh seeds, so there is no result.",
    "interval.ends": "{low} to {high}",
    "headline.alone": "{best} reached a held-out loss of {loss} on {n} fresh seeds; there is nothing to compare it with.",
    "headline.better": (
        "{best} reached the lowest held-out loss: {loss} on {n} fresh seeds, {below} below the baseline {baseline} "
        "(95 % interval: {ends})."
    ),
    "headline.better_linear": (
        "{best} reached the lowest held-out loss: {loss} on {n} fresh seeds, better than the baseline {baseline} "
        "(difference {effect})."
    ),
    "headline.better_diverged": "{best} reached the lowest held-out loss, {loss} on {n} fresh seeds: better than the baseline {baseline}, which diverged on some of them.",
    "headline.baseline_best": (
        "Nothing beat the baseline {baseline}: it reached the lowest held-out loss, {loss} on {n} fresh seeds."
    ),
    "headline.not_shown": (
        "{best} reached the lowest held-out loss, {loss} on {n} fresh seeds, but no difference from the baseline "
        "{baseline} is shown."
    ),
    "headline.few": (
        "{best} reached the lowest held-out loss, {loss}, but {n} fresh seeds cannot show a difference; "
        "{needed} could."
    ),
    "headline.no_baseline": (
        "{best} reached the lowest held-out loss, {loss} on {n} fresh seeds; the baseline {baseline} has no result "
        "to compare it with."
    ),
    "rises.none": "No strategy raised its rate by itself.",
    "rises.some": "Raised by themselves, beyond what the schedule asked for: {list}.",
    "rises.one": "{name} {factor} near step {step}",
    "rises.unmeasured": "Rates were not measured.",
    "facts": "{trials} trials · {steps} updates each · {rates} rates · {tune} tuning seeds · {fresh} fresh seeds · {device}",
    # results
    "results": "The result, on fresh seeds",
    "results.note": (
        "Each strategy's rate was chosen on the tuning seeds; only seeds that had no part in the choice are shown "
        "here. Loss: {centre} over seeds with its 95 % Student interval. Verdict: paired with {baseline} seed by "
        "seed, exact sign-flip test, Holm's correction over {count} comparisons, level 5 %. The interval of an "
        "effect is of that one comparison, without the correction."
    ),
    "centre.log": "geometric mean",
    "centre.linear": "mean",
    "column.strategy": "strategy",
    "column.rate": "rate chosen",
    "column.loss": "held-out loss (95 %)",
    "column.metric": "{metric}",
    "column.seeds": "every seed",
    "column.effect": "against {baseline}",
    "column.p": "p (Holm)",
    "column.verdict": "verdict",
    "column.robust": "decades within 5 %",
    "column.robust2": "within ×2",
    "column.rise": "raised its rate?",
    "column.nominal": "nominal rate",
    "column.target": "steps to {target}",
    "column.time": "time a step",
    "column.reached": "{seeds} of {of} seeds",
    "column.never": "not reached",
    "diverged": "{count} of {n} seeds diverged",
    "edge.low": "optimum at the lowest rate tried",
    "edge.high": "optimum at the highest rate tried",
    "edge.extended": "grid extended by {rates}",
    "not_run": "not run",
    "no_result": "no result",
    "strip.scale": "from {low} to {high}{scale}",
    "strip.log": ", logarithmic",
    "strip.linear": "",
    # rises
    "rise.yes": "{factor} near step {step}",
    "rise.most": "{factor} near step {step} ({seeds} of {of} seeds)",
    "rise.few": "only on {seeds} of {of} seeds",
    "rise.note": "nominal {nominal}",
    "rise.no": "no",
    "rise.unmeasured": "not measured",
    "nominal.constant": "constant",
    "nominal.zero": "falls to almost 0",
    "nominal.rises": "rises {factor}",
    "nominal.falls": "falls to {factor}",
    # folk table
    "folk": "What people say, and what was measured here",
    "folk.note": (
        "One task, one batch size, one model: a claim that fails here is not refuted everywhere, and one that "
        "holds is not proved. Claims about the loss are judged by the test above, on fresh seeds; claims about "
        "stability and robustness describe the tuning seeds."
    ),
    "folk.column.claim": "The advice",
    "folk.column.measured": "Measured",
    "folk.column.standing": "Here it",
    "folk.standing.held": "held",
    "folk.standing.did not hold": "did not hold",
    "folk.standing.not shown": "was not shown",
    "folk.standing.not tested": "was not tested",
    "folk.default": "“Adam by default”",
    "folk.never_raises": "“… it never raises its rate”",
    "folk.decay": "“AdamW when decay matters”",
    "folk.unstable": "“RAdam when the first steps are unstable”",
    "folk.robust": "“AdaBelief for robustness”",
    "folk.large_batch": "“LAMB for large batches …”",
    "folk.agreement": "“… it may raise the rate when gradients agree”",
    "folk.small_data": "“CyclicLR on small data”",
    "folk.cosine": "“cosine …”",
    "folk.plateau": "“… or plateau otherwise”",
    "folk.measured.missing": "Without a result here: {names}.",
    "folk.measured.alone": "Nothing to compare it with.",
    "folk.measured.no_readings": "Its rate was not measured.",
    "folk.measured.no_tuning": "No common rates were tried.",
    "folk.measured.one_batch_size": "Every trial has the same batch size.",
    "folk.measured.place": "{name} came {place} of {of}; shown better than it: {names}.",
    "folk.measured.duel": "{ours} against {theirs}: {effect}, p = {p}, {n} seeds.",
    "folk.measured.largest_rate": (
        "At the largest common rate, {rate}: {ours} {loss}, {theirs} {other}. Diverged while tuning: {lost} and "
        "{other_lost} trials."
    ),
    "folk.measured.decades": (
        "Decades of rate within 5 % and within ×2 of the best loss: {ours} {tight} and {wide}, {theirs} "
        "{other_tight} and {other_wide}."
    ),
    "folk.measured.rose": (
        "{name}'s gain rose on {seeds} of {of} seeds beyond its nominal rate, {factor} near step {step} (medians)."
    ),
    "folk.measured.never_rose": "{name}'s gain rose beyond its nominal rate on none of {of} seeds.",
    "folk.measured.rise_and_alignment": (
        "{name}'s gain rose on {seeds} of {of} seeds, {factor} near step {step} (medians); rank correlation with "
        "alignment over time {rho}."
    ),
    # figures
    "robustness": "Loss against rate",
    "robustness.note": (
        "One panel a strategy, the others in grey. The line joins the {centre} over the tuning seeds, small dots "
        "are single seeds, the ring is the chosen rate, the shaded band the rates within 5 % of the best loss. "
        "A wide valley forgives a wrong rate. × at the top: a seed diverged; ▲: beyond the scale."
    ),
    "robustness.x": "rate",
    "robustness.y": "held-out loss",
    "robustness.alt": "Loss against rate of {name}: best {loss} at rate {rate}, {decades} decades within 5 %.",
    "robustness.caption": "{decades} decades within 5 %, {wide} within ×2",
    "curves": "Loss over time",
    "curves.note": (
        "Held-out loss at the chosen rate on the fresh seeds: the median, and the band from the lowest to the "
        "highest seed; the other medians in grey. Dashed: the target, where the task has one."
    ),
    "curves.x": "step",
    "curves.y": "held-out loss",
    "curves.alt": "Held-out loss of {name} over {steps} steps, ending at {loss}.",
    "rates": "Did it raise its rate?",
    "rates.note": (
        "Nominal is the rate the schedule asked for. Gain is the length of the step over the length of the "
        "gradient, and the effective rate is gain × alignment: the rate of plain SGD that best explains the step. "
        "Alignment, below, is the cosine between the step and the descent direction. A rise is an increase of "
        "gain beyond the nominal rate that a shrinking gradient does not explain. Medians over fresh seeds."
    ),
    "rates.x": "step",
    "rates.y": "rate",
    "rates.alt": "Nominal rate, gain and effective rate of {name} over time. Raised its rate: {rise}.",
    "rates.nominal": "nominal",
    "rates.gain": "gain",
    "rates.effective": "effective",
    "rates.alignment": "alignment (−1 … 1)",
    "rates.none": "No rate was measured.",
    # time
    "time": "Time a step",
    "time.note": (
        "Median over the fresh seeds, evaluation left out. Seconds come from this machine while it ran several "
        "trials at once: compare them with each other, not with other machines."
    ),
    "time.to_target": "time to {target}",
    "time.none": "Nothing was timed.",
    # errors
    "errors": "What went wrong",
    "errors.none": "Nothing: every trial of every strategy that could run ran to its end.",
    "errors.diverged": "{count} of {trials} trials diverged; they count as the worst result.",
    "errors.trial": "{strategy}, rate {rate}, seed {seed}",
    "errors.traceback": "traceback",
    # what was run
    "ran": "What was run, and how to run it again",
    "ran.task": "task",
    "ran.identity": "its identity (sha256 of code and data)",
    "ran.budget": "budget of a trial",
    "ran.updates": "{steps} updates; on fresh seeds {evals} evaluations off the clock",
    "ran.rates": "rates",
    "ran.tune": "tuning seeds",
    "ran.fresh": "fresh seeds",
    "ran.baseline": "baseline",
    "ran.device": "device",
    "ran.versions": "versions",
    "ran.strategies": "strategies",
    "ran.protocol": (
        "The same budget for every strategy, the same initial weights and batch order per seed, the same number "
        "of rates on one grid. A diverged trial is the worst result and is never dropped."
    ),
    # several tasks
    "profiles": "Performance profiles over tasks",
    "profiles.note": "The share of tasks on which a strategy needs at most τ times the steps of the fastest one to the target; score: its mean for τ from 1 to 4. A strategy that misses the target counts as never.",
    "profiles.score": "score",
    "profiles.steps": "steps, {task}",
    "profiles.targets": "Targets (held-out loss; where a task declares none, what its baseline ends with):",
    "profiles.y": "share of tasks",
    "terminal.folder": "Report: {folder}",
}
