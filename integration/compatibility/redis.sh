curl -X POST 192.168.0.7:8888/org -d '

#+name: redis-server
#+header: :cpu 1 :mem 128 :dockerize t :image redis
#+BEGIN_SRC sh
redis-server
#+END_SRC

#+name: set-something-in-redis
#+header: :cpu 1 :mem 128
#+BEGIN_SRC sh
while true; do 
  echo "SET timestamp `date \"+%s\"`" | nc 127.0.0.1 6379
  sleep 1
done
#+END_SRC

#+name: get-something-from-redis
#+header: :cpu 1 :mem 128 :dockerize t :image ubuntu
#+BEGIN_SRC sh
while true; do 
  echo "Current value in Redis:"
  echo "GET timestamp" | nc 127.0.0.1 6379
  sleep 1
done
#+END_SRC

' 2>&1
