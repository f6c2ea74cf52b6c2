// Sums over the rows of a matrix: gradients of biases.
#include "common.cuh"

// A block of 32 × 32 threads sums 32 columns of a chunk of rows: thread (c, r) every 32nd row from
// the r-th on, and then the 32 sums of a column are added in pairs.
constexpr int TILE = 32;

// The sum of a column, in thread (c, 0); `scratch` has TILE × TILE numbers.
__device__ inline float tile_sum(float value, float* scratch) {
    scratch[threadIdx.y * TILE + threadIdx.x] = value;
    __syncthreads();
    for (uint32_t half = TILE / 2; half > 0; half /= 2) {
        if (threadIdx.y < half)
            scratch[threadIdx.y * TILE + threadIdx.x] +=
                scratch[(threadIdx.y + half) * TILE + threadIdx.x];
        __syncthreads();
    }
    float sum = scratch[threadIdx.x];
    __syncthreads();
    return sum;
}

// out[chunk, column] = Σ x[row, column] over the rows of the chunk
template <class T>
__device__ void column_sums(const T* x, float* out, uint32_t rows, uint32_t columns,
                            uint32_t chunk) {
    __shared__ float scratch[TILE * TILE];
    uint32_t column = blockIdx.x * TILE + threadIdx.x;
    uint32_t first = blockIdx.y * chunk, end = min(first + chunk, rows);
    float sum = 0.0f;
    if (column < columns)
        for (uint32_t row = first + threadIdx.y; row < end; row += TILE)
            sum += up(x[(uint64_t)row * columns + column]);
    sum = tile_sum(sum, scratch);
    if (threadIdx.y == 0 && column < columns) out[(uint64_t)blockIdx.y * columns + column] = sum;
}

extern "C" __global__ void column_sums_f32(const float* x, float* out, uint32_t rows,
                                           uint32_t columns, uint32_t chunk) {
    column_sums<float>(x, out, rows, columns, chunk);
}
extern "C" __global__ void column_sums_bf16(const bf16* x, float* out, uint32_t rows,
                                            uint32_t columns, uint32_t chunk) {
    column_sums<bf16>(x, out, rows, columns, chunk);
}

// The squares of each block's elements: out[block] = Σ x². One thread adds them all up with
// `total`, in double precision, in the order of the blocks.
extern "C" __global__ void squares(const float* x, double* out, uint64_t n) {
    __shared__ double scratch[256];
    double sum = 0.0;
    EACH_ELEMENT(i, n) sum += (double)x[i] * x[i];
    scratch[threadIdx.x] = sum;
    __syncthreads();
    for (uint32_t half = 128; half > 0; half /= 2) {
        if (threadIdx.x < half) scratch[threadIdx.x] += scratch[threadIdx.x + half];
        __syncthreads();
    }
    if (threadIdx.x == 0) out[blockIdx.x] = scratch[0];
}

extern "C" __global__ void total(const double* x, double* out, uint32_t n) {
    __shared__ double scratch[256];
    double sum = 0.0;
    for (uint32_t i = threadIdx.x; i < n; i += 256) sum += x[i];
    scratch[threadIdx.x] = sum;
    __syncthreads();
    for (uint32_t half = 128; half > 0; half /= 2) {
        if (threadIdx.x < half) scratch[threadIdx.x] += scratch[threadIdx.x + half];
        __syncthreads();
    }
    if (threadIdx.x == 0) *out = scratch[0];
}

// What gradients are multiplied with so that their norm, `sqrt(squares) / tokens`, is at most `limit`, if
// that is above zero: NaN if the norm is not finite. And the norm.
extern "C" __global__ void clip(const double* squares, double* norm, float* factor, float tokens,
                                float limit) {
    if (threadIdx.x != 0) return;
    double found = sqrt(*squares) / tokens;
    *norm = found;
    float most = limit > 0.0f && found > limit ? (float)(limit / found) : 1.0f;
    *factor = isfinite(found) ? most : NAN;
}
