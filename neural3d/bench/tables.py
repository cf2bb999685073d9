"""What was measured, as a person reads it: a small table, then command, machine and date."""

from collections.abc import Sequence
from typing import Any

Report = dict[str, Any]
Row = tuple[str, ...]


def text_of(report: Report) -> str:
    """The table of a report."""
    rows = {
        "step": _step_rows,
        "render": _render_rows,
        "device_step": _device_step_rows,
        "device_render": _device_render_rows,
        "quality": _quality_rows,
        "memory": _memory_rows,
        "demo": _demo_rows,
        "formats": _formats_rows,
        "clients": _clients_rows,
        "clients_engine": _clients_rows,
        "latency": _latency_rows,
        "viewer_soak": _viewer_soak_rows,
        "soak": _soak_rows,
        "fields": _fields_rows,
        "hashgrid": _hashgrid_rows,
        "hashgrid_step": _hashgrid_rows,
        "mlp": _curves_rows,
        "points": _points_rows,
        "making": _making_rows,
        "poses": _poses_rows,
        "pose_halves": _pose_halves_rows,
        "trained_poses": _trained_poses_rows,
        "side_by_side": _side_by_side_rows,
        "denoisers": _denoisers_rows,
        "few_photos": _few_photos_rows,
        "moving_things": _moving_things_rows,
        "refined_cameras": _refined_cameras_rows,
        "fuzz": _fuzz_rows,
        "atlas": _atlas_rows,
        "textures": _textures_rows,
        "arcs": _arcs_rows,
        "priors": priors_rows,
    }
    commit, load = report["commit"] or "no commit", report["load_average"]
    return "\n".join(
        [
            *_aligned(rows[report["table"]](report)),
            "",
            f"command  {report['command']}",
            f"machine  {report['machine']}; {report['threads']} threads, {report['simd']}, torch {report['torch']}",
            f"date     {report['date']}, neural3d {report['neural3d']} ({commit})",
            *([f"load     {load:.1f} programs at the end: compare nothing else while it is high"] if load else []),
        ]
    )


def markdown_of(rows: Sequence[Row], report: Report) -> str:
    """Rows as a table of Markdown, the first of them its head, and where it was measured."""
    lines = ["| " + " | ".join(row) + " |" for row in rows]
    lines.insert(1, "|" + "---|" * len(rows[0]))
    measured = f"`{report['command']}`, {report['machine']}, {report['date']}"
    return "\n".join([*lines, "", measured, ""])


def _few_photos_rows(report: Report) -> list[Row]:
    given = f"{len(report['photos'])} photos, {report['points']:,} points, {report['steps']:,} steps"
    rows = [("trained on", f"{given}; judged on {report['held_out']} others")]
    for row in report["rows"]:
        scores = f"{row['psnr']:.2f} dB, colour-corrected {row['psnr_color_corrected']:.2f} dB, SSIM {row['ssim']:.4f}"
        off_deg = row.get("poses_off_deg", 0)
        poses = f", poses off by {off_deg:g} degrees" * (off_deg > 0)
        rows.append((row["settings"] + poses, f"{scores}; {row['num_gaussians']:,} Gaussians, {row['seconds']:.0f} s"))
    return rows


def _moving_things_rows(report: Report) -> list[Row]:
    given = f"{report['num_train']} photos of {report['capture']}, {report['steps']:,} steps"
    rows = [("trained on", f"{given}; judged on {report['held_out']} others")]
    for row in report["rows"]:
        scores = f"{row['psnr']:.2f} dB, colour-corrected {row['psnr_color_corrected']:.2f} dB, SSIM {row['ssim']:.4f}"
        rows.append(
            (f"{row['photos']}{', --ignore-moving' * row['ignore_moving']}", f"{scores}; {row['seconds']:.0f} s")
        )
    return rows


def _refined_cameras_rows(report: Report) -> list[Row]:
    given = f"{report['num_train']} photos of {report['capture']}, {report['steps']:,} steps"
    rows = [("trained on", f"{given}; judged on {report['held_out']} others")]
    for row in report["rows"]:
        poses = f"poses off by {row['poses_off_deg']:g} degrees{', --refine-cameras' * row['refine_cameras']}"
        way = [
            f"{row[w]['angle_deg']:.2f} degrees, {100 * row[w]['center_extents']:.2f} %" for w in ("before", "after")
        ]
        rows.append((poses, f"{way[0]} -> {way[1]}; {row['psnr']:.2f} dB; {row['seconds']:.0f} s"))
    return rows


def _fuzz_rows(report: Report) -> list[Row]:
    rows = [("damaged file of", f"{report['seconds']:,.0f} s, {report['turns']} turns of each parser")]
    for row in report["rows"]:
        told = "; ".join(f"{finding['what']} ({finding['count']:,} times)" for finding in row["findings"])
        ends = f"{row['read']:,} read, {row['refused']:,} refused in one line"
        rows.append((row["parser"], f"{ends}; {told or 'no other end'}"))
    return rows


def _fields_rows(report: Report) -> list[Row]:
    def step(name: str) -> str:
        return f"{report[f'step_ms_{name}']:,.0f} ms"

    return [
        ("a step of the paper's networks", f"{report['rays']:,} rays, {report['samples']} samples each"),
        ("bfloat16 products", f"{step('bfloat16')}, {report['first_step_ms_bfloat16']:,.0f} ms at the beginning"),
        ("float32 products", step("float32")),
        ("plain torch", f"{step('torch')}, {report['torch_ratio_bfloat16']:.1f} times as long"),
        ("--tiny", f"{report['tiny_steps']:,} steps in {report['tiny_seconds']:.0f} s"),
        ("PSNR", f"{report['tiny_psnr']:.2f} dB on {report['tiny_views']} held-out views of {report['capture']}"),
        ("a frame", f"{report['tiny_seconds_a_frame']:.2f} s"),
    ]


def _hashgrid_rows(report: Report) -> list[Row]:
    step = f"{report['step_ms']:.0f} ms, {report['step_processor_ms']:.0f} ms of processor time"
    rows = [
        (f"a step on {report['step_rays']:,} rays", f"{step}; {report['step_samples']:,} samples"),
        *((f"  {name}", f"{ms:.1f} ms") for name, ms in sorted(report["operators_ms"].items(), key=lambda e: -e[1])),
        ("plain torch", f"{report['step_ms_torch']:,.0f} ms, {report['torch_ratio']:.1f} times as long"),
    ]
    for name, preset in report["presets"].items():
        for point in preset["curve"]:
            spent = f"{point['seconds']:.0f} s ({point['processor_seconds']:.0f} s of processor time)"
            rows.append((f"--preset {name}", f"{point['psnr']:.2f} dB after {spent}, {point['steps']:,} steps"))
        rows.append(("  a frame", f"{preset['seconds_a_frame']:.2f} s"))
    return rows


def _side_by_side_rows(report: Report) -> list[Row]:
    width, height = report["size_px"]
    rows = [(f"{report['capture']}, {width}x{height}, {report['seconds']:.0f} s each", "")]
    for name, found in report["models"].items():
        quality = (
            f"{found['psnr']:.2f} dB, {found['psnr_color_corrected']:.2f} dB colour-corrected, SSIM {found['ssim']:.3f}"
        )
        spent = f"{found['steps']:,} steps in {found['processor_seconds']:.0f} s of processor time"
        rows.append((name, f"{quality}; {spent}; a frame {found['seconds_a_frame']:.2f} s"))
    return rows


def _points_rows(report: Report) -> list[Row]:
    step = f"{report['step_ms']:.0f} ms, {report['step_processor_ms']:.0f} ms of processor time"
    rows = [
        (f"a step on {report['step_rays']:,} rays", f"{step}; {report['step_points']:,} points"),
        *((f"  {name}", f"{ms:.1f} ms") for name, ms in sorted(report["operators_ms"].items(), key=lambda e: -e[1])),
        ("plain torch", f"{report['step_ms_torch']:,.0f} ms, {report['torch_ratio']:.1f} times as long"),
    ]
    points = [(name, f"{report[name]['points']:,}") for name in ("ours", "twin")]
    return [*rows, *((f"points at the end, {name}", count) for name, count in points), *_curves_rows(report)]


def _curves_rows(report: Report) -> list[Row]:
    rows = [(f"trained at once on {report['capture']}", f"{report['threads_each']} threads each")]
    for label, name in (("ours", "ours"), ("plain torch", "twin")):
        for point in report[name]["curve"]:
            spent = f"{point['seconds']:.0f} s ({point['processor_seconds']:.0f} s of processor time)"
            rows.append((label, f"{point['psnr']:.2f} dB after {spent}, {point['steps']:,} steps"))
        judged = f"{report[name]['views']} held-out views, {report[name]['seconds_a_frame']:.2f} s a frame"
        rows.append((f"  {label}, judged on", judged))
    return rows


def _step_rows(report: Report) -> list[Row]:
    large = {key.removesuffix("_50k"): value for key, value in report.items() if key.endswith("_50k")}
    sides = (report, large)
    rows = [("training step", *(side["scene"] for side in sides))]
    for line in report["operators"]:
        rows.append((f"  {line}", *(f"{side['operators'][line]:.2f} ms" for side in sides)))
    rows += [
        ("whole step", *(f"{side['step_ms']:.2f} ms" for side in sides)),
        ("relocation, every 100 steps", *(f"{side['relocation_ms']:.2f} ms" for side in sides)),
        ("rest / blend loops", *(f"{side['rest_over_blend']:.2f}" for side in sides)),
        *_pace_rows(sides, "forward"),
        *_pace_rows(sides, "backward"),
        ("pairs", *(_work(side) for side in sides)),
        ("FMA peak, before and after", _peaks(report)),
    ]
    if report["avx2_ratio"] is not None:
        rows.append(("AVX2 / AVX-512", f"{report['avx2_ratio']:.2f}"))
    return [*rows, (f"plain torch / native ({report['torch_twin_scene']})", f"{report['torch_twin_ratio']:.0f}")]


def _device_step_rows(report: Report) -> list[Row]:
    rows = []
    for scene, found in report["scenes"].items():
        rows.append((f"training step on {report['device']}", f"{found['step_ms']:.3f} ms, {scene}"))
        rows += _device_rows(found)
    return rows


def _device_render_rows(report: Report) -> list[Row]:
    frames = f"{report['fps']:.1f} frames a second, {report['scene']}"
    return [(f"rendering on {report['device']}", frames), *_device_rows(report)]


def _device_rows(found: Report) -> list[Row]:
    """Each operator by itself, with what it takes to launch it, and the memory."""
    rows = [(f"  {name}", f"{ms:.3f} ms") for name, ms in found["operators"].items()]
    memory = found["peak_memory_mib"]
    return rows if memory is None else [*rows, ("  memory", f"{memory:.0f} MiB")]


def _render_rows(report: Report) -> list[Row]:
    rows = [("render", report["scene"])]
    rows += [(f"  {line}", f"{taken:.2f} ms") for line, taken in report["operators"].items()]
    return [
        *rows,
        ("whole frame", f"{report['frame_ms']:.2f} ms"),
        ("frames a second", f"{report['fps']:.1f}"),
        *_pace_rows((report,), "forward"),
        ("pairs", _work(report)),
        ("FMA peak, before and after", _peaks(report)),
    ]


def _quality_rows(report: Report) -> list[Row]:
    rows = [("capture", "seconds", "steps", "Gaussians", "PSNR", "color-corrected")]
    for name, capture in report["captures"].items():
        width, height = capture["photo_size_px"]
        rows.append((f"{name} at {width}x{height}, {capture['num_views']} held-out views", *("",) * 5))
        rows += [_point_row(point) for point in capture["curve"]]
        others = [f"SSIM {capture['ssim']:.4f}", f"FLIP {capture['flip']:.4f}"]
        others += [] if capture["lpips"] is None else [f"LPIPS {capture['lpips']:.4f}"]
        others += [] if capture["peak_rss_gib"] is None else [f"peak {capture['peak_rss_gib']:.2f} GiB"]
        rows.append(("  " + ", ".join(others), *("",) * 5))
    return rows


def _point_row(point: Report) -> Row:
    seconds, steps, count = f"{point['seconds']:.1f}", f"{point['step']:,}", f"{point['num_gaussians']:,}"
    return ("", seconds, steps, count, f"{point['psnr']:.2f} dB", f"{point['psnr_color_corrected']:.2f} dB")


def _memory_rows(report: Report) -> list[Row]:
    return [
        ("training", f"{report['capture']} at 1/{report['downscale']:g}, {report['seconds']:.0f} s"),
        ("Gaussians", f"{report['num_gaussians']:,}"),
        ("peak resident memory", f"{report['peak_rss_gib']:.2f} GiB"),
    ]


def _demo_rows(report: Report) -> list[Row]:
    return [
        ("from a bare clone to the end of make demo", f"{report['seconds']:.0f} s"),
        ("of it to install and to build", f"{report['setup_seconds']:.0f} s"),
        ("of it training", f"{report['train_seconds']:.0f} s"),
        ("PSNR of held-out views", f"{report['psnr']:.2f} dB"),
    ]


def _formats_rows(report: Report) -> list[Row]:
    trained, large = f"{report['num_gaussians']:,} Gaussians", f"{report['num_large']:,}"
    rows = [("file", "bytes each", "PSNR to the model", "write", "read", f"peak memory, {large}")]
    rows.append((f"{report['capture']}, {trained}", *("",) * 5))
    for name, file in report["files"].items():
        seconds = [f"{file[key]:.2f} s" for key in ("write_seconds", "read_seconds")]
        peak = report["large"].get(name)
        shown = "not measured" if peak is None else f"{peak['peak_rss_gib']:.2f} GiB"
        rows.append((f"  {name}", f"{file['bytes_a_gaussian']:.1f}", _decibels(file["psnr"]), *seconds, shown))
    rows += [(f"half of them: {name}", "", _decibels(value), "", "", "") for name, value in report["half"].items()]
    return rows


def _decibels(value: float | None) -> str:
    return "the same" if value is None else f"{value:.1f} dB"


def _clients_rows(report: Report) -> list[Row]:
    title = f"{report['capture']}, {report['steps']:,} steps, {report['num_gaussians']:,} Gaussians"
    rows = [("clients", "steps/s", "share", "elsewhere", "clients' cores", "longest step"), (title, *("",) * 5)]
    rows.append(("  no viewer", f"{report['headless']['steps_per_second']:.1f}", "1.00", *("",) * 3))
    for crowd in report["crowds"]:
        shares = [f"{crowd[key]:.2f}" for key in ("share", "share_elsewhere", "clients_cores")]
        rows.append(
            (_mix(crowd), f"{crowd['steps_per_second']:.1f}", *shares, f"{crowd['longest_step_ms']:.0f} ms"),
        )
    return rows


def _latency_rows(report: Report) -> list[Row]:
    rows = report["picture_rows"]
    return [
        ("camera to picture", f"{report['scene']}, {report['moves']} moves, the training paused"),
        ("median", f"{report['p50_ms']:.0f} ms"),
        ("95 of 100 within", f"{report['p95_ms']:.0f} ms"),
        ("longest", f"{report['max_ms']:.0f} ms"),
        ("rows of a picture", f"{rows['least']} to {rows['median']} of {report['window_px'][1]} (least, median)"),
    ]


def _viewer_soak_rows(report: Report) -> list[Row]:
    turned_away = ", ".join(f"{count:,} {reason}" for reason, count in report["turned_away"].items()) or "nobody"
    return [
        ("viewer", f"{report['num_gaussians']:,} Gaussians, {report['seconds']:.0f} s"),
        ("clients that came, that were cut off", f"{report['joined']:,}, {report['ended']:,}"),
        ("turned away", turned_away),
        ("memory grew by", f"{report['growth_mib']:+.1f} MiB, to {report['rss_mib_max']:.0f} MiB at most"),
        ("threads, open files at the end", f"{report['threads_end']}, {report['files_end']}"),
        ("clients left over", f"{report['left_over']}"),
    ]


def _soak_rows(report: Report) -> list[Row]:
    sides = [report["undisturbed"], report["disturbed"]]
    slopes = [[slope for slope in side["rss_mib_per_10k_steps"] if slope is not None] for side in sides]
    lost = max(report["disturbed"]["steps_lost"], default=0)
    return [
        (f"soak, {report['capture']}, {report['steps']:,} steps", "undisturbed", "disturbed"),
        ("seconds", *(f"{side['seconds']:.0f}" for side in sides)),
        ("kills, pauses", *(f"{side['kills']}, {side['pauses']}" for side in sides)),
        (f"most steps lost by a kill, checkpoints each {report['checkpoint_seconds']:.0f} s", "", f"{lost:,}"),
        ("most memory", *(f"{side['rss_mib_max']:.0f} MiB" for side in sides)),
        ("memory by 10,000 steps", *(f"{max(found):+.2f} MiB" if found else "-" for found in slopes)),
        ("most threads, open files", *(f"{side['threads_max']}, {side['files_max']}" for side in sides)),
        ("the same bytes in the end", "", "yes" if report["same_bytes"] else "NO"),
    ]


def _mix(crowd: Report) -> str:
    kinds = [f"{crowd[kind]} {kind}" for kind in ("live", "stalled", "flooding", "garbage") if crowd[kind]]
    return f"  {crowd['clients']}" + (f" ({', '.join(kinds)})" if len(kinds) > 1 else "")


def _pace_rows(sides: Sequence[Report], direction: str) -> list[Row]:
    paces = [f"{side[f'{direction}_gpairs']:.2f} G/s" for side in sides]
    costs = [f"{1 / side[f'{direction}_pairs_per_flop']:.0f}" for side in sides]
    return [(f"{direction} pairs", *paces), ("  operations of the peak per pair", *costs)]


def _work(report: Report) -> str:
    return f"{report['pairs'] / 1e6:.1f} M, {100 * report['blended_share']:.0f} % blended"


def _peaks(report: Report) -> str:
    return f"{report['fma_peak_gflops_before']:.0f}, {report['fma_peak_gflops_after']:.0f} GFLOP/s"


def _aligned(rows: Sequence[Row]) -> list[str]:
    """The first column to the left, the others to the right; long first cells of otherwise empty rows stand alone."""
    columns = max(map(len, rows))
    widths = [max((len(row[i]) for row in rows if i < len(row) and any(row[1:])), default=0) for i in range(columns)]
    lines = []
    for row in rows:
        cells = [row[0].ljust(widths[0]), *(cell.rjust(widths[i]) for i, cell in enumerate(row[1:], start=1))]
        lines.append("  ".join(cells).rstrip())
    return lines


def _denoisers_rows(report: Report) -> list[Row]:
    taken, sizes = report["step_ms"], report["parameters"]
    return [
        *(
            (f"{who}'s step", f"{taken[key]:.0f} ms, {taken[f'{key}_bf16']:.0f} ms in bfloat16, {sizes[key]:,} numbers")
            for key, who in (("ours", "our U-Net"), ("diffusers", "UNet2DModel"))
        ),
        (
            "as long as ours",
            f"{report['diffusers_over_ours']:.1f}, {report['diffusers_over_ours_bf16']:.1f} in bfloat16",
        ),
        *(
            (
                name,
                f"step {cost['step_ms']:.0f} ms, sample {cost['sample_ms']:.0f} ms, {cost['sample_gflop']:.1f} GFLOP",
            )
            for name, cost in report["spaces"].items()
        ),
    ]


def _atlas_rows(report: Report) -> list[Row]:
    given = f"{report['side']} x {report['side']}, {100 * report['unseen']:.0f} % of {report['texels']:,} texels unseen"
    columns = ("c2st", "swd", "sharpness", "seam", "layout")
    rows = [(given, "seconds", "method", "windows", *columns)]
    for name, found in report["modes"].items():
        card = (f"{found['card'][column]:.2f}" for column in columns)
        rows.append((name, f"{found['seconds']:.1f}", found["method"], str(found["windows"]), *card))
    return rows


def _textures_rows(report: Report) -> list[Row]:
    columns = ("critic", "c2st", "swd", "sharpness", "seam", "layout", "psnr", "seconds")
    rows = [("method", *columns)]
    for name, found in report["methods"].items():
        rows.append((name, *(f"{found[column]['mean']:.2f}" for column in columns)))
    return rows


def _arcs_rows(report: Report) -> list[Row]:
    """Of the pixels that show what no photo saw, but for the first columns of numbers."""
    columns = ("c2st", "swd", "sharpness", "seam", "layout", "penalty")
    given = f"{report['withheld']} of {report['photos']} photos withheld, {report['degrees']:g} degrees"
    rows = [
        (f"{report['capture']}, {given}", "trained views, dB", "all, dB", "unseen, dB", *columns, "on the mesh, dB")
    ]
    for name, found in report["methods"].items():
        card = (f"{found['card'][column]:.2f}" for column in columns)
        mesh = "" if found["mesh_psnr_unseen"] is None else f"{found['mesh_psnr_unseen']:.2f}"
        decibels = (f"{found[key]:.2f}" for key in ("psnr_trained", "psnr", "psnr_unseen"))
        rows.append((name, *decibels, *card, mesh))
    return rows


def priors_rows(report: Report) -> list[Row]:
    """A line for each prior, below that of the true patches of its size."""

    def scores(found: Report) -> tuple[str, ...]:
        cells = []
        for name, digits in (("precision", 2), ("coverage", 2), ("distance", 1), ("sharpness", 2)):
            low, high = found[name]["interval"]
            cells.append(f"{found[name]['mean']:.{digits}f} ({low:.{digits}f} to {high:.{digits}f})")
        return tuple(cells)

    rows = [(f"{report['seconds']:.0f} s each", "size", "precision", "coverage", "distance", "sharpness", "images/s")]
    for size, floor in report["floors"].items():
        rows.append(("true patches", f"{size} px", *scores(floor), ""))
        for name, found in report["priors"].items():
            if found["size"] == int(size):
                pace = f"{found['images_a_second']:,.1f}"
                rows.append((name + (" (copies)" if found["copies"] else ""), f"{size} px", *scores(found), pace))
    return rows


def _poses_rows(report: Report) -> list[Row]:
    return [
        ("photos with a pose", f"{report['num_registered']} of {report['num_photos']}"),
        ("seconds", f"{report['seconds']:.0f} ({', '.join(f'{k} {v:.0f}' for k, v in report['stages'].items())})"),
        ("reprojection error", f"{report['reprojection_error_px']:.2f} px, {report['num_points']:,} points"),
        *_pose_rows(report),
    ]


def _pose_rows(report: Report) -> list[Row]:
    kinds = (("centres", "center_percent", "% of the extent"), ("orientations", "angle_deg", "degrees"))
    return [
        (what, f"median {report[f'{key}_median']:.3f} {unit}, at most {report[f'{key}_max']:.3f} {unit}")
        for what, key, unit in kinds
    ]


def _pose_halves_rows(report: Report) -> list[Row]:
    first, second = report["worst_percent"]
    return [
        *_pose_rows(report),
        (
            report["worst"],
            f"{first:.2f} and {second:.2f} % from the given one, {report['worst_between_percent']:.2f} % apart",
        ),
        ("residuals", f"{report['residual_px']:.3f} px, with given cameras {report['given_residual_px']:.3f} px"),
        ("given cameras fit better", f"{report['given_fits_better']} of {report['num_photos']} photos"),
    ]


def _trained_poses_rows(report: Report) -> list[Row]:
    rows = report["rows"]
    return [
        ("poses", "plain", "colour-corrected"),
        *((n, *(f"{rows[n][k]:.2f} dB" for k in ("psnr", "psnr_color_corrected"))) for n in rows),
    ]


def _making_rows(report: Report) -> list[Row]:
    return [
        ("first cameras on the page", f"{report['preview_seconds']:.0f} s"),
        ("first splats on the page", f"{report['scene_seconds']:.0f} s"),
        ("files written", f"{report['seconds']:.0f} s, {report['train_seconds']:.0f} of them training"),
        ("held-out views", f"{report['psnr']:.2f} dB, {report['psnr_color_corrected']:.2f} colour-corrected"),
    ]
