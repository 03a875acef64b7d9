# cmake -DOUT=FILE.c -DHEADER=NAME.h -DNAMES=a,b -DFOLDER=DIR -DFILES=x,y -P embed.cmake: C arrays a and b with the bytes of DIR/x and DIR/y,
# and their sizes.
string(REPLACE "," ";" NAMES "${NAMES}")
string(REPLACE "," ";" FILES "${FILES}")
set(text "#include \"${HEADER}\"\n")
foreach(name file IN ZIP_LISTS NAMES FILES)
  file(READ ${FOLDER}/${file} bytes HEX)
  string(LENGTH "${bytes}" digits)
  math(EXPR size "${digits} / 2")
  string(REGEX REPLACE "([0-9a-f][0-9a-f])" "'\\\\x\\1'," bytes "${bytes}")
  string(APPEND text "\nconst char ${name}[] = {${bytes}'\\0'};\nconst size_t ${name}_size = ${size};\n")
endforeach()
file(WRITE ${OUT} "${text}")
