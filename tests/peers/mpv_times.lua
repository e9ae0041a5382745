-- Says several times a second where mpv is in the stream, in seconds.
mp.add_periodic_timer(0.05, function()
  local time = mp.get_property_number("time-pos")
  if time then
    io.stdout:write("time ", time, "\n")
    io.stdout:flush()
  end
end)
