// Linear layers of search: out = [residual +] f(x Wᵀ + bias).
//
// An element is one chain of multiply-adds over the depth of the product, whatever tile it is in, so
// a row's result does not depend on what other rows there are. In bfloat16 a link of the chain is
// sixteen products wide, as tensor cores add them.
#include "common.cuh"

// No activation: rows as they are. The others are those of `elements.cu`.
constexpr uint32_t NONE = 3;

// What becomes of a sum. `bias` and `residual` may be null.
template <class T> struct Finish {
    const float* bias;
    const T* residual; // [rows, columns]
    uint32_t kind;
};

template <class T, class Out>
__device__ inline void finish(Out* out, const Finish<T>& f, float sum, uint32_t row,
                              uint32_t column, uint32_t columns) {
    if (f.bias) sum += f.bias[column];
    if (f.kind != NONE) sum = activated(f.kind, sum);
    uint64_t at = (uint64_t)row * columns + column;
    if (f.residual) sum += up(f.residual[at]);
    out[at] = down<Out>(sum);
}

// Columns of a tile, and how deep it is in single precision.
constexpr uint32_t COLUMNS = 64, DEPTH = 16;

// A block of 256 threads, 16 × 16 of them, for 16 ROWS × 64 elements: a thread has ROWS × 4.
template <int ROWS>
__device__ void product(const float* x, const float* w, float* out, const Finish<float>& f,
                        uint32_t rows, uint32_t columns, uint32_t depth) {
    __shared__ float x_tile[DEPTH * (16 * ROWS + 1)];
    __shared__ float w_tile[DEPTH * (COLUMNS + 1)];
    uint32_t first_row = blockIdx.y * 16 * ROWS, first_column = blockIdx.x * COLUMNS;
    uint32_t tx = threadIdx.x % 16, ty = threadIdx.x / 16;
    float sums[ROWS][4];
#pragma unroll
    for (int i = 0; i < ROWS; i++)
#pragma unroll
        for (int j = 0; j < 4; j++) sums[i][j] = 0.0f;
    for (uint32_t start = 0; start < depth; start += DEPTH) {
        uint32_t n = min(DEPTH, depth - start);
        for (uint32_t i = threadIdx.x; i < 16 * ROWS * DEPTH; i += 256) {
            uint32_t k = i % DEPTH, row = i / DEPTH;
            bool inside = first_row + row < rows && k < n;
            x_tile[k * (16 * ROWS + 1) + row] =
                inside ? x[(uint64_t)(first_row + row) * depth + start + k] : 0.0f;
        }
        for (uint32_t i = threadIdx.x; i < COLUMNS * DEPTH; i += 256) {
            uint32_t k = i % DEPTH, column = i / DEPTH;
            bool inside = first_column + column < columns && k < n;
            w_tile[k * (COLUMNS + 1) + column] =
                inside ? w[(uint64_t)(first_column + column) * depth + start + k] : 0.0f;
        }
        __syncthreads();
        for (uint32_t k = 0; k < n; k++) {
            float own[4];
#pragma unroll
            for (int j = 0; j < 4; j++) own[j] = w_tile[k * (COLUMNS + 1) + tx + 16 * j];
#pragma unroll
            for (int i = 0; i < ROWS; i++) {
                float factor = x_tile[k * (16 * ROWS + 1) + ty + 16 * i];
#pragma unroll
                for (int j = 0; j < 4; j++) sums[i][j] = fmaf(factor, own[j], sums[i][j]);
            }
        }
        __syncthreads();
    }
#pragma unroll
    for (int i = 0; i < ROWS; i++)
#pragma unroll
        for (int j = 0; j < 4; j++) {
            uint32_t row = first_row + ty + 16 * i, column = first_column + tx + 16 * j;
            if (row < rows && column < columns) finish(out, f, sums[i][j], row, column, columns);
        }
}

// d += a b for tiles of 16 × 16 and 16 × 8 numbers, spread over a warp (PTX ISA, “Matrix Fragments for
// mma.m16n8k16 with floating point type”): with g = lane / 4 and t = lane % 4, register r of `a` holds
// row g + 8 (r % 2), columns 2t + 8 (r / 2) and the next; register r of `b` column g, rows 2t + 8 r and
// the next; d[c] is row g + 8 (c / 2), column 2t + c % 2.
#ifndef EMULATED
__device__ inline void multiply_add(float* d, const uint32_t* a, const uint32_t* b) {
    asm volatile("mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 "
                 "{%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, {%0, %1, %2, %3};"
                 : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3])
                 : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]));
}
#endif

// A tile in shared memory is 32 deep; its rows are 40 numbers apart, so that eight rows are in
// different banks.
constexpr uint32_t BF16_DEPTH = 32, PITCH = 40;

// Two neighbours of a row, as one register.
__device__ inline uint32_t pair(bf16 low, bf16 high) {
    union {
        bf16 both[2];
        uint32_t word;
    } joined;
    joined.both[0] = low;
    joined.both[1] = high;
    return joined.word;
}

// Copies rows `first..first + n` of x, columns `start..`, to a tile; what is outside is zero. With
// `wide` rows begin at multiples of 16 bytes.
__device__ inline void fill(uint32_t* tile, const bf16* x, uint32_t first, uint32_t n, uint32_t rows,
                            uint32_t start, uint32_t depth, uint32_t wide) {
    if (wide) {
        constexpr uint32_t PARTS = BF16_DEPTH / 8;
        for (uint32_t i = threadIdx.x; i < n * PARTS; i += blockDim.x) {
            uint32_t row = i / PARTS, column = start + i % PARTS * 8;
            uint4 eight = {0, 0, 0, 0};
            if (first + row < rows && column < depth)
                eight = *(const uint4*)(x + (uint64_t)(first + row) * depth + column);
            *(uint4*)(tile + row * (PITCH / 2) + i % PARTS * 4) = eight;
        }
        return;
    }
    for (uint32_t i = threadIdx.x; i < n * (BF16_DEPTH / 2); i += blockDim.x) {
        uint32_t row = i / (BF16_DEPTH / 2), column = start + i % (BF16_DEPTH / 2) * 2;
        const bf16* at = x + (uint64_t)(first + row) * depth + column;
        bool inside = first + row < rows;
        bf16 zero = down<bf16>(0.0f);
        tile[row * (PITCH / 2) + i % (BF16_DEPTH / 2)] =
            pair(inside && column < depth ? at[0] : zero, inside && column + 1 < depth ? at[1] : zero);
    }
}

// A block of four warps for ACROSS · M · 16 rows and 64 columns; a warp has M × N tiles of 16 × 8.
template <int ACROSS, int M, class Out>
__device__ void product(const bf16* x, const bf16* w, Out* out, const Finish<bf16>& f,
                        uint32_t rows, uint32_t columns, uint32_t depth, uint32_t wide) {
    constexpr uint32_t ROWS = ACROSS * M * 16;
    constexpr int N = COLUMNS / 8 * ACROSS / 4;
    alignas(16) __shared__ uint32_t x_tile[ROWS * PITCH / 2];
    alignas(16) __shared__ uint32_t w_tile[COLUMNS * PITCH / 2];
    uint32_t first_row = blockIdx.y * ROWS, first_column = blockIdx.x * COLUMNS;
    uint32_t warp = threadIdx.x / WARP, lane = threadIdx.x % WARP;
    uint32_t group = lane / 4, place = lane % 4;
    uint32_t own_row = warp % ACROSS * M * 16, own_column = warp / ACROSS * N * 8;
    float sums[M][N][4];
#pragma unroll
    for (int i = 0; i < M; i++)
#pragma unroll
        for (int j = 0; j < N; j++)
#pragma unroll
            for (int c = 0; c < 4; c++) sums[i][j][c] = 0.0f;
    for (uint32_t start = 0; start < depth; start += BF16_DEPTH) {
        fill(x_tile, x, first_row, ROWS, rows, start, depth, wide);
        fill(w_tile, w, first_column, COLUMNS, columns, start, depth, wide);
        __syncthreads();
#pragma unroll
        for (uint32_t k = 0; k < BF16_DEPTH / 2; k += 8) {
            uint32_t a[M][4], b[N][2];
#pragma unroll
            for (int i = 0; i < M; i++)
#pragma unroll
                for (int r = 0; r < 4; r++)
                    a[i][r] = x_tile[(own_row + i * 16 + group + 8 * (r % 2)) * (PITCH / 2) + k +
                                     place + 4 * (r / 2)];
#pragma unroll
            for (int j = 0; j < N; j++)
#pragma unroll
                for (int r = 0; r < 2; r++)
                    b[j][r] = w_tile[(own_column + j * 8 + group) * (PITCH / 2) + k + place + 4 * r];
#pragma unroll
            for (int i = 0; i < M; i++)
#pragma unroll
                for (int j = 0; j < N; j++) multiply_add(sums[i][j], a[i], b[j]);
        }
        __syncthreads();
    }
#pragma unroll
    for (int i = 0; i < M; i++)
#pragma unroll
        for (int j = 0; j < N; j++)
#pragma unroll
            for (int c = 0; c < 4; c++) {
                uint32_t row = first_row + own_row + i * 16 + group + 8 * (c / 2);
                uint32_t column = first_column + own_column + j * 8 + 2 * place + c % 2;
                if (row < rows && column < columns)
                    finish(out, f, sums[i][j][c], row, column, columns);
            }
}

// The number in a name is that of the rows of a tile.
extern "C" __global__ void product_f32_16(const float* x, const float* w, float* out,
                                          Finish<float> f, uint32_t rows, uint32_t columns,
                                          uint32_t depth, uint32_t) {
    product<1>(x, w, out, f, rows, columns, depth);
}
extern "C" __global__ void product_f32_64(const float* x, const float* w, float* out,
                                          Finish<float> f, uint32_t rows, uint32_t columns,
                                          uint32_t depth, uint32_t) {
    product<4>(x, w, out, f, rows, columns, depth);
}
#define PRODUCT(Out, NAME)                                                                        \
    extern "C" __global__ void product_##NAME##_16(                                               \
        const bf16* x, const bf16* w, Out* out, Finish<bf16> f, uint32_t rows, uint32_t columns,  \
        uint32_t depth, uint32_t wide) {                                                          \
        product<1, 1, Out>(x, w, out, f, rows, columns, depth, wide);                             \
    }                                                                                             \
    extern "C" __global__ void product_##NAME##_64(                                               \
        const bf16* x, const bf16* w, Out* out, Finish<bf16> f, uint32_t rows, uint32_t columns,  \
        uint32_t depth, uint32_t wide) {                                                          \
        product<2, 2, Out>(x, w, out, f, rows, columns, depth, wide);                             \
    }
PRODUCT(bf16, bf16)
PRODUCT(float, bf16_wide)
