"""Answers to exercises of quantization, as a reader would write them; the tests grade each."""


def four_bits(block, codes):
    scale = block.abs().max()
    nearest = (block[:, None] / scale - codes).abs().argmin(dim=1)
    return scale * codes[nearest]


def mixed_matmul(x, W, threshold):
    def absmax(rows):
        scales = rows.abs().amax(dim=1, keepdim=True) / 127
        return (rows / scales).round(), scales

    outlier = (x.abs() >= threshold).any(dim=0)
    exact = x[:, outlier] @ W[:, outlier].T
    x_codes, x_scales = absmax(x[:, ~outlier])
    w_codes, w_scales = absmax(W[:, ~outlier])
    return exact + (x_codes @ w_codes.T) * x_scales * w_scales.T
