// Adam (Kingma and Ba, 2015) of one parameter in one pass, in place: `train::Optimizer` has the
// rule.
//
//   g ← scale · g + pull · w
//   m ← mean₀ m + mean₁ g            v ← square₀ v + square₁ g²
//   w ← keep · w − rate · m / (√v · correction + ε)
//
// Where there is a `clip`, g is multiplied with it as well; if that is no number, nothing changes.
#include "common.cuh"

struct Adam {
    float scale;
    float pull;
    float keep;
    float rate;
    float eps;
    float correction;
    float mean[2];
    float square[2];
};

extern "C" __global__ void adam(float* weights, float* means, float* squares, const float* grad,
                                const float* clip, uint64_t n, Adam by) {
    float clipped = clip ? *clip : 1.0f;
    if (isnan(clipped)) return;
    EACH_ELEMENT(i, n) {
        float w = weights[i];
        float g = by.scale * clipped * grad[i] + by.pull * w;
        float mean = by.mean[0] * means[i] + by.mean[1] * g;
        float square = by.square[0] * squares[i] + by.square[1] * g * g;
        means[i] = mean;
        squares[i] = square;
        weights[i] = by.keep * w - by.rate * (mean / (sqrtf(square) * by.correction + by.eps));
    }
}
