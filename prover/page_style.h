/* page_style: prover/report/page.css and page.js, put into the program when it is built. */
#ifndef PAGE_STYLE_H
#define PAGE_STYLE_H

#include <stddef.h>

extern const char page_style[], page_script[]; /* with a NUL behind them */
extern const size_t page_style_size, page_script_size;

#endif
