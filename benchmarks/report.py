# SPDX-License-Identifier: Apache-2.0
"""From measurements to medians, a table, and a picture."""

import statistics

BASE = "quorum"


def median_of(values):
    """The median of numbers, or of dicts of numbers key by key."""
    first = values[0]
    if first is None:
        return None
    if isinstance(first, dict):
        return {key: median_of([value[key] for value in values]) for key in first}
    return statistics.median(values)


def summarise(rounds):
    """rounds[job][subject] is a list of measurements; gives summary[job][subject]."""
    summary = {}
    for job, by_subject in rounds.items():
        summary[job] = {}
        for subject, measurements in by_subject.items():
            entry = median_of(measurements)
            rates = [measurement["iops"] for measurement in measurements]
            entry["iops_min"], entry["iops_max"] = min(rates), max(rates)
            summary[job][subject] = entry
    return summary


def ratio(summary, job, subject, base):
    if base not in summary[job] or subject not in summary[job]:
        return None
    return summary[job][subject]["iops"] / summary[job][base]["iops"]


def rate_text(job, entry):
    if "_1m_" in job:
        return f"{entry['bytes_per_s'] / 1e9:.2f} GB/s"
    return f"{entry['iops']:,.0f}/s"


def number_text(value, form):
    return "-" if value is None else format(value, form)


def table(summary, titles, goals):
    """Lines of text: a block for each job, a row for each subject."""
    head = (f"{'':28}{'rate':>12}{'x quorum':>10}{'x raw':>8}{'p50 us':>9}{'p99 us':>10}"
            f"{'p99.9 us':>10}{'CPU s/Mop':>11}")
    for job, by_subject in summary.items():
        yield ""
        yield f"{job}"
        yield head
        for subject, entry in by_subject.items():
            latency = entry["latency_us"]
            line = (f"  {titles[subject]:26}{rate_text(job, entry):>12}"
                    f"{number_text(ratio(summary, job, subject, BASE), '.2f'):>10}"
                    f"{number_text(ratio(summary, job, subject, 'raw'), '.2f'):>8}"
                    f"{latency['p50']:>9.0f}{latency['p99']:>10.0f}{latency['p99.9']:>10.0f}"
                    f"{number_text(entry['server_cpu_s_per_million_ops'], '.1f'):>11}")
            reached = ratio(summary, job, subject, BASE)
            if subject == "gemel" and reached is not None:
                verdict = "reached" if reached >= goals[job] else "MISSED"
                line += f"  goal {goals[job]:.1f} {verdict}"
            yield line


COLOURS = {"gemel": "#1b6ca8", "quorum": "#e08e2b", "qemu-single": "#c9b79c", "raw": "#9a9a9a",
           "raw-pair": "#5c5c5c"}


def bars(axis, summary, titles, value):
    """Grouped horizontal bars, the first job on top."""
    jobs = list(summary)
    subjects = [name for name in titles if any(name in summary[job] for job in jobs)]
    height = 0.8 / len(subjects)
    for i, subject in enumerate(subjects):
        points = [(j + (i - (len(subjects) - 1) / 2) * height, value(job, subject))
                  for j, job in enumerate(jobs)]
        points = [(place, number) for place, number in points if number is not None]
        if points:
            axis.barh([place for place, _ in points], [number for _, number in points], height,
                      color=COLOURS[subject], label=titles[subject])
    axis.set_yticks(range(len(jobs)), jobs)
    axis.invert_yaxis()
    axis.grid(axis="x", alpha=0.3)


def plot(summary, titles, path, caption):
    import matplotlib
    matplotlib.use("Agg")
    import matplotlib.pyplot as pyplot

    figure, axes = pyplot.subplots(1, 3, figsize=(17, 8), sharey=True)
    bars(axes[0], summary, titles, lambda job, subject: ratio(summary, job, subject, BASE))
    axes[0].axvline(1.0, color="black", linewidth=0.8)
    axes[0].set_title("rate, relative to qemu's quorum")
    bars(axes[1], summary, titles, lambda job, subject:
         summary[job][subject]["latency_us"]["p99"] if subject in summary[job] else None)
    axes[1].set_xscale("log")
    axes[1].set_title("p99 latency, µs (log)")
    bars(axes[2], summary, titles, lambda job, subject:
         summary[job][subject]["server_cpu_s_per_million_ops"] if subject in summary[job] else None)
    axes[2].set_title("server CPU seconds per million operations")
    axes[0].legend(loc="lower right", fontsize=8)
    figure.suptitle(caption, fontsize=10)
    figure.tight_layout()
    figure.savefig(path, dpi=110)
    pyplot.close(figure)
