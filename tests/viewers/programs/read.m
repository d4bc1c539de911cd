% Prints what GNU Octave reads: octave-cli read.m FILE PLACE FILE PLACE ..., a line of JSON each.
1;
function found = read_one (file, place)
  found = load (file);
  for part = strsplit (place(2:end), "/")
    found = found.(part{1});
  end
end
arguments = argv ();
printf ("%s\n", jsonencode (struct ("version", version ())));
for at = 1:2:numel (arguments)
  try
    value = read_one (arguments{at}, arguments{at + 1});
    if (ischar (value))
      value = {value};
    elseif (iscomplex (value))
      value = num2cell (reshape ([real(value(:))'; imag(value(:))'], 1, []));
      value = cellfun (@(one) sprintf ("%.17g", one), value, "UniformOutput", false);
    elseif (isstruct (value))
      error ("a structure");
    else
      value = arrayfun (@(one) sprintf ("%.17g", one), value(:)', "UniformOutput", false);
    endif
    printf ("%s\n", jsonencode (struct ("value", {value})));
  catch problem
    printf ("%s\n", jsonencode (struct ("error", problem.message)));
  end_try_catch
end
